"""The whole path against float64 NumPy written for this file: dense matrices, loops, a gradient derived by hand.

Tolerances. float32 rounds to a relative 2^-24 = 6e-8; scores, losses and gradients sum tens of terms of size one: 2e-6.
Each of 20 Adam steps rounds moments, step and weight anew: STEPS 2^-24 = 1.2e-6 (measured 4e-7), once the reference
takes its bias corrections from Optax. They are float32, and so 2e-5 off for 1 - 0.999^t and 1e-5 lr for a step, which
PyTorch's are not. Against a reference in pure float64 (measured 9e-6) the tolerance is STEPS lr 2e-5 more: twice that,
for processors whose power is an ulp worse.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import sparse

import lthjax
from lthjax.data import interactions as data
from lthjax.data import split as splits
from lthjax.embeddings import Embeddings
from lthjax.evaluation import ranking
from lthjax.model import losses
from lthjax.model.losses import Triples
from lthjax.pruning import masks
from lthjax.pruning import rules as prune
from lthjax.search import problem as problems
from lthjax.training.keys import Purpose
from lthjax.training.sampling import SAMPLERS
from lthjax.training.step import LossMeter

LR, L2, RATE, BATCH, STEPS, RTOL = 0.05, 1e-3, 0.1, 6, 20, 2e-6
ATOL = STEPS * (2.0**-24 + LR * 2e-5)
ATOL_AS_IN_OPTAX = STEPS * 2.0**-24
BACKBONES = [(0, "mean"), (1, "mean"), (3, "mean"), (3, "sum")]


# The reference. Letters as in lthjax: M users, N items, F dimensions, K layers, B batch. One table, users first.


def combination(pairs, num_users, num_items, num_layers, combine):
    """C = I + A' + ... + A'^K, over K + 1 for the mean, [M + N, M + N]; symmetric since A' = D^-1/2 A D^-1/2 is."""
    adjacency = np.zeros((num_users + num_items, num_users + num_items))
    for user, item in pairs:
        adjacency[user, num_users + item] = adjacency[num_users + item, user] = 1
    degree = adjacency.sum(axis=1)
    for row, column in zip(*np.nonzero(adjacency), strict=True):
        adjacency[row, column] = 1 / np.sqrt(degree[row] * degree[column])
    total = sum(np.linalg.matrix_power(adjacency, power) for power in range(num_layers + 1))
    return total / (num_layers + 1) if combine == "mean" else total


def loss_and_gradient(x, C, batch, num_users, l2):
    """L = sum_b w_b (softplus(-p_b) + l2 / 2 (|x_u|^2 + |x_i|^2 + |x_j|^2)) / sum_b w_b.

    With z = C x and p = z_u (z_i - z_j), dL/dp = -w sigmoid(-p) / sum w, so dL/dz_u = dL/dp (z_i - z_j) and
    dL/dz_i = -dL/dz_j = dL/dp z_u. C is symmetric: dL/dx = C dL/dz, and the L2 term adds w l2 x / sum w to the rows of
    the batch.
    """
    z, dz, dx, loss = C @ x, np.zeros_like(x), np.zeros_like(x), 0.0
    for user, positive, negative, weight in zip(*batch[:4], strict=True):
        u, i, j, weight = user, num_users + positive, num_users + negative, weight / batch.weight.sum()
        preference = z[u] @ (z[i] - z[j])
        loss += weight * (np.log1p(np.exp(-preference)) + l2 / 2 * sum(x[row] @ x[row] for row in (u, i, j)))
        dp = -weight / (1 + np.exp(preference))
        dz[u] += dp * (z[i] - z[j])
        dz[i] += dp * z[u]
        dz[j] -= dp * z[u]
        for row in (u, i, j):
            dx[row] += weight * l2 * x[row]
    return loss, C @ dz + dx


def exact(b, step):
    """1 / (1 - b^t), Adam's bias correction."""
    return 1 / (1 - b**step)


def as_in_optax(b, step):
    """The same in float32, by Optax itself: 1 - 0.999^t has then lost half its digits."""
    return float(optax.tree.bias_correction(jnp.float32(1), b, step))


def adam(x, mask, C, batches, num_users, l2, lr, correction=exact, b1=0.9, b2=0.999, eps=1e-8):
    """(weights after the last batch, [losses]) of Adam (Kingma and Ba 2015, algorithm 1) on the kept entries."""
    x, first, second, each = x * mask, np.zeros_like(x), np.zeros_like(x), []
    for step, batch in enumerate(batches, start=1):
        loss, gradient = loss_and_gradient(x, C, batch, num_users, l2)
        gradient = gradient * mask
        first = b1 * first + (1 - b1) * gradient
        second = b2 * second + (1 - b2) * gradient**2
        first_hat, second_hat = first * correction(b1, step), second * correction(b2, step)
        x = x - lr * first_hat / (np.sqrt(second_hat) + eps)
        each.append(loss)
    return x, each


def drop_smallest(x, mask, rate):
    """(mask without the round(rate n) smallest |x| of its n kept entries, the next |x| less the last to fall)."""
    kept = np.flatnonzero(mask)
    order = kept[np.argsort(np.abs(x.ravel()[kept]), kind="stable")]
    num_drop = round(rate * len(kept))
    pruned = mask.copy()
    pruned.ravel()[order[:num_drop]] = False
    return pruned, np.diff(np.abs(x.ravel()[order[num_drop - 1 : num_drop + 1]])).item()


def iterative_magnitude_pruning(start, C, batches_of_level, num_users, l2, lr, rate):
    """Yields (mask, trained weights, gap of the pruning that follows): train, prune, rewind to `start`, and again."""
    mask = np.ones(start.shape, bool)
    for batches in batches_of_level:
        trained, _ = adam(start, mask, C, batches, num_users, l2, lr)
        pruned, gap = drop_smallest(trained, mask, rate)
        yield mask, trained, gap
        mask = pruned


# What it is compared with.


def joint(tree):
    """[M + N, F], float32 as float64 without loss."""
    table = np.concatenate([np.asarray(part) for part in tree])
    return table if table.dtype == bool else table.astype(np.float64)


@pytest.fixture(scope="module")
def batches(tiny):
    """STEPS batches, stacked: positives from the data, any negatives, some rows that do not count."""
    rng = np.random.default_rng(1)
    users, positives = tiny.train[rng.integers(0, len(tiny.train), (STEPS, BATCH))].transpose(2, 0, 1)
    negatives = (positives + rng.integers(1, tiny.num_items, (STEPS, BATCH))) % tiny.num_items
    weight = (rng.random((STEPS, BATCH)) < 0.9).astype(np.float32)
    return Triples(users, positives, negatives.astype(np.int32), weight)


def unstacked(batches):
    return [Triples(*parts) for parts in zip(*batches[:4], strict=True)]


@pytest.fixture(scope="module")
def make(program_on, batches):
    """The compiled program on the fixed batches: (K, combine) -> Program."""
    return program_on(batches, LR, L2)


@pytest.mark.parametrize(("num_layers", "combine"), BACKBONES)
def test_forward_loss_and_gradient(tiny, tiny_graph, start, batches, backbone_of, num_layers, combine):
    C = combination(tiny.train, tiny.num_users, tiny.num_items, num_layers, combine)
    backbone = backbone_of(num_layers, combine)

    def loss_of(layer0, batch):
        return losses.bpr(backbone(layer0, tiny_graph), layer0, jax.tree.map(jnp.asarray, batch), 0.3)

    np.testing.assert_allclose(joint(backbone(start, tiny_graph)), C @ joint(start), rtol=RTOL, atol=1e-6)
    for batch in unstacked(batches)[:3]:
        loss, gradient = jax.value_and_grad(loss_of)(start, batch)
        wanted_loss, wanted_gradient = loss_and_gradient(joint(start), C, batch, tiny.num_users, 0.3)
        np.testing.assert_allclose(loss, wanted_loss, rtol=RTOL)
        np.testing.assert_allclose(joint(gradient), wanted_gradient, rtol=RTOL, atol=1e-6)


def test_mean_and_sum_differ_by_the_layers(tiny_graph, start, backbone_of):
    mean, total = (joint(backbone_of(3, combine)(start, tiny_graph)) for combine in ("mean", "sum"))
    np.testing.assert_array_equal(mean * 4, total)  # by a power of two: exact, and the scores by 16


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("num_layers", "combine"), BACKBONES)
def test_twenty_adam_steps(tiny, tiny_graph, start, some_masks, batches, make, num_layers, combine, masked):
    program = make(num_layers, combine)
    kept = some_masks if masked else masks.all_kept(start)
    C = combination(tiny.train, tiny.num_users, tiny.num_items, num_layers, combine)
    state, meter = program.run_steps(
        program.start(start, kept), LossMeter.zero(), kept, tiny_graph, jax.random.key(0), STEPS
    )
    for correction, atol in ((exact, ATOL), (as_in_optax, ATOL_AS_IN_OPTAX)):
        wanted, each = adam(joint(start), joint(kept), C, unstacked(batches), tiny.num_users, L2, LR, correction)
        assert np.abs(wanted - joint(start) * joint(kept)).max() > 0.5  # it went far
        np.testing.assert_allclose(joint(state.params), wanted, rtol=0, atol=atol)
        np.testing.assert_allclose(meter.total, sum(each), rtol=RTOL)
    assert not joint(state.params)[~joint(kept)].any()


@pytest.mark.parametrize(("num_layers", "combine"), [(0, "mean"), (3, "mean")])
def test_iterative_magnitude_pruning(tiny, tiny_graph, start, batches, make, num_layers, combine):
    program, steps, levels = make(num_layers, combine), 5, 7
    C = combination(tiny.train, tiny.num_users, tiny.num_items, num_layers, combine)
    kept, counts, before = masks.all_kept(start), [], None
    state = program.start(start, kept)
    batches_of_level = [unstacked(batches)[:steps]] * levels  # a level starts at step 0 again
    wanted = iterative_magnitude_pruning(joint(start), C, batches_of_level, tiny.num_users, L2, LR, RATE)
    for wanted_mask, wanted_trained, gap in wanted:
        np.testing.assert_array_equal(joint(kept), wanted_mask)
        np.testing.assert_array_equal(joint(state.params), np.where(wanted_mask, joint(start), 0))  # rewound, bit-equal
        assert before is None or masks.are_nested(kept, before)
        counts.append(masks.num_kept(kept))
        final, _ = program.run_steps(
            jax.tree.map(jnp.copy, state), LossMeter.zero(), kept, tiny_graph, jax.random.key(0), steps
        )
        error = np.abs(joint(final.params) - wanted_trained).max()
        assert error < ATOL
        assert gap > 10 * error  # no near-tie: rounding cannot choose which entries fall
        before, kept = kept, prune.prune(prune.magnitude(final.params), kept, RATE, "joint")
        state = program.start(start, kept)
    assert counts == [90, 81, 73, 66, 59, 53, 48]  # less round(0.1 n) each


@pytest.mark.slow
def test_find_tickets():
    """The loop as users call it, on the batches that its sampler draws."""
    rng = np.random.default_rng(3)
    pairs = np.unique(np.stack([rng.integers(0, 12, 110), rng.integers(0, 15, 110)], axis=1), axis=0)
    split = splits.split(data.load(sparse.coo_array((np.ones(len(pairs)), pairs.T), shape=(12, 15))))
    settings = lthjax.Settings(
        model="lightgcn",
        layers=2,
        dim=4,
        init="normal-0.1",
        learning_rate=0.02,
        l2=L2,
        batch_size=16,
        epochs=2,
        patience=0,
        levels=5,
        prune_from="last",
    )
    problem = problems.prepare(split, settings)
    draw = jax.jit(jax.vmap(SAMPLERS[settings.sampler](settings.batch_size).sample, (None, 0, None)))
    steps = jnp.arange(settings.epochs * problem.program.steps_per_epoch, dtype=jnp.int32)
    batches_of_level = [
        unstacked(jax.tree.map(np.asarray, draw(problem.key(Purpose.BATCHES, level), steps, problem.graph)))
        for level in range(settings.levels + 1)
    ]
    tickets = list(lthjax.find_tickets(split, settings=settings, show_progress=False))
    first = joint(tickets[0].start)
    C = combination(split.train, split.num_users, split.num_items, settings.layers, "mean")
    wanted = iterative_magnitude_pruning(
        first, C, batches_of_level, split.num_users, L2, settings.learning_rate, settings.prune_rate
    )
    for ticket, (wanted_mask, wanted_trained, gap) in zip(tickets, wanted, strict=True):
        np.testing.assert_array_equal(joint(ticket.masks), wanted_mask)
        np.testing.assert_array_equal(joint(ticket.start), np.where(wanted_mask, first, 0))
        error = np.abs(joint(ticket.final.params) - wanted_trained).max()
        assert error < ATOL
        assert gap > 10 * error
    assert all(masks.are_nested(inner.masks, outer.masks) for outer, inner in itertools.pairwise(tickets))


def rank_metrics(scores, seen, held_out, k):
    """{user: (Recall@k, NDCG@k)} for users with held-out items, expected over the orders of items that score alike.

    An item that a are ahead of, and that shares its score with t - 1 others, stands at each of ranks a + 1 to a + t
    with chance 1 / t.
    """
    values = {}
    for user in sorted({user for user, _ in held_out.tolist()}):
        relevant = [item for u, item in held_out.tolist() if u == user]
        unseen = [item for item in range(scores.shape[1]) if [user, item] not in seen.tolist()]
        recall = gain = 0
        for item in set(relevant) & set(unseen):
            ahead = sum(scores[user, other] > scores[user, item] for other in unseen)
            alike = sum(scores[user, other] == scores[user, item] for other in unseen)
            ranks = [rank for rank in range(ahead + 1, ahead + alike + 1) if rank <= k]
            recall += len(ranks) / alike
            gain += sum(1 / np.log2(rank + 1) for rank in ranks) / alike
        ideal = sum(1 / np.log2(place + 2) for place in range(min(k, len(relevant))))
        values[user] = (recall / len(relevant), gain / ideal)
    return values


def assert_metrics(measured, scores, seen, held_out):
    for k in measured.recall:
        wanted = rank_metrics(scores, seen, held_out, k)
        assert measured.users.tolist() == list(wanted)
        got = np.stack([measured.recall[k], measured.ndcg[k]], axis=1)
        np.testing.assert_allclose(got, list(wanted.values()), rtol=RTOL)


@pytest.mark.parametrize(("num_layers", "combine"), [(0, "mean"), (3, "mean")])
def test_metrics_from_layer0_on(tiny, tiny_graph, start, backbone_of, num_layers, combine):
    C = combination(tiny.train, tiny.num_users, tiny.num_items, num_layers, combine)
    final = C @ joint(start)
    scores = final[: tiny.num_users] @ final[tiny.num_users :].T
    assert np.diff(np.sort(scores, axis=1), axis=1).min() > 1e-5  # no near-tie
    task = ranking.ranking_task(tiny.train, tiny.test, tiny.num_users)
    measured = ranking.evaluate(backbone_of(num_layers, combine)(start, tiny_graph), task, ks=(1, 2, 5, 20))
    assert_metrics(measured, scores, tiny.train, tiny.test)


@pytest.mark.parametrize("seed", range(4))
def test_metrics_of_tied_scores(tiny, some_masks, seed):
    """Whole numbers, so that scores are exact; pruned rows, which score 0 and -0, tie with one another."""
    rng = np.random.default_rng(seed)
    final = masks.apply(some_masks, Embeddings(*(rng.integers(-1, 2, mask.shape) * 1.0 for mask in some_masks)))
    scores = joint(final)[: tiny.num_users] @ joint(final)[tiny.num_users :].T
    assert all(len(set(row)) < tiny.num_items for row in scores.tolist())
    seen = np.concatenate([tiny.train, tiny.valid])
    task = ranking.ranking_task(seen, tiny.test, tiny.num_users)
    measured = ranking.evaluate(jax.tree.map(jnp.float32, final), task, ks=(1, 2, 5, 20))
    assert_metrics(measured, scores, seen, tiny.test)
