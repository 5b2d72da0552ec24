"""The same numbers as PyTorch Geometric, PyTorch and trec_eval, from the same weights, graph, batches and scores.

Needs the extra `peers`; without it every test here is skipped.

Tolerances as in test_numpy.py, with both sides in float32: a relative 2e-6 for sums, and over 20 Adam steps
20 (2^-24 + lr 2e-5), since PyTorch takes Adam's 1 - b^t in float64 and Optax in float32 (measured 9e-6).
"""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.embeddings import Embeddings
from lthjax.evaluation import ranking
from lthjax.model import losses
from lthjax.model.losses import Triples
from lthjax.pruning import masks
from lthjax.pruning import rules as prune
from lthjax.training.step import LossMeter

LR, L2, BATCH, STEPS, RTOL = 0.05, 1e-3, 6, 20, 2e-6
ATOL = STEPS * (2.0**-24 + LR * 2e-5)
BACKBONES = [(0, "mean"), (1, "mean"), (3, "mean"), (3, "sum")]


def peer(module):
    """The module, or a skipped test; `importorskip` lets pass what the module itself warns of while it is imported."""
    return pytest.importorskip(module, reason=f"{module} is not installed: pip install 'lthjax[peers]'")


@pytest.fixture(scope="module")
def torch():
    peer("torch.nn.utils.prune")
    module = peer("torch")
    module.set_num_threads(1)
    return module


@pytest.fixture(scope="module")
def pyg_lightgcn(torch):
    return peer("torch_geometric.nn.models").LightGCN


@pytest.fixture(scope="module")
def trec_eval():
    return peer("ir_measures")


def joint(tree):
    """[M + N, F], users first."""
    return np.concatenate([np.asarray(part) for part in tree])


@pytest.fixture(scope="module")
def batches(tiny):
    """STEPS batches, stacked; nodes repeat within a batch."""
    rng = np.random.default_rng(1)
    users, positives = tiny.train[rng.integers(0, len(tiny.train), (STEPS, BATCH))].transpose(2, 0, 1)
    negatives = (positives + rng.integers(1, tiny.num_items, (STEPS, BATCH))) % tiny.num_items
    return Triples(users, positives, negatives.astype(np.int32), np.ones((STEPS, BATCH), np.float32))


def at(batches, step):
    return jax.tree.map(lambda part: jnp.asarray(part)[step], batches)


@pytest.fixture(scope="module")
def make(program_on, batches):
    """The compiled program on the fixed batches: (K, combine) -> Program."""
    return program_on(batches, LR, L2)


def trained(program, state, kept, graph, steps):
    copy = jax.tree.map(jnp.copy, state)  # run_steps takes its state away
    return program.run_steps(copy, LossMeter.zero(), kept, graph, jax.random.key(0), steps)[0]


# PyTorch Geometric's LightGCN


@pytest.fixture
def pyg(tiny, start, torch, pyg_lightgcn):
    """(K, combine) -> its model with our first weights, and what is asked of it."""

    def make(num_layers, combine):
        num_nodes = tiny.num_users + tiny.num_items
        alpha = 1.0 if combine == "sum" else None  # None is 1 / (K + 1)
        model = pyg_lightgcn(num_nodes, tiny.embedding_dim, num_layers, alpha=alpha)
        weight = model.embedding.weight
        weight.data.copy_(torch.from_numpy(joint(start)))
        users, items = torch.from_numpy(tiny.train.T.astype(np.int64))
        items = items + tiny.num_users
        edge_index = torch.stack([torch.cat([users, items]), torch.cat([items, users])])  # each edge both ways

        def loss(batch, l2, node_id):
            users, positives, negatives, _ = (torch.tensor(np.asarray(part), dtype=torch.long) for part in batch[:4])
            positives, negatives = positives + tiny.num_users, negatives + tiny.num_users
            pairs = torch.stack([torch.cat([users, users]), torch.cat([positives, negatives])])
            liked, other = model(edge_index, pairs).chunk(2)
            nodes = torch.cat([users, positives, negatives])
            node_id = {"batch": nodes, "unique": nodes.unique(), "all": None}[node_id]
            return model.recommendation_loss(liked, other, node_id=node_id, lambda_reg=l2)

        return types.SimpleNamespace(model=model, weight=weight, edge_index=edge_index, loss=loss)

    return make


@pytest.mark.parametrize(("num_layers", "combine"), BACKBONES)
def test_pyg_embeddings_and_rankings(tiny, tiny_graph, start, torch, pyg, backbone_of, num_layers, combine):
    theirs = pyg(num_layers, combine)
    final = backbone_of(num_layers, combine)(start, tiny_graph)
    np.testing.assert_allclose(
        joint(final), theirs.model.get_embedding(theirs.edge_index).detach().numpy(), rtol=RTOL, atol=1e-6
    )
    scores = np.asarray(jnp.dot(final.user, final.item.T, precision="highest"))
    users, items = np.indices(scores.shape)
    pairs = torch.from_numpy(np.stack([users.ravel(), items.ravel() + tiny.num_users]))
    wanted = theirs.model(theirs.edge_index, pairs).detach().numpy().reshape(scores.shape)
    np.testing.assert_allclose(scores, wanted, rtol=RTOL, atol=1e-6)
    assert np.diff(np.sort(scores, axis=1), axis=1).min() > 1e-5  # no near-tie
    nodes = {"src_index": torch.arange(tiny.num_users), "dst_index": torch.arange(tiny.num_items) + tiny.num_users}
    ranking = theirs.model.recommend(theirs.edge_index, **nodes, k=tiny.num_items).numpy() - tiny.num_users
    np.testing.assert_array_equal(jax.lax.top_k(scores, tiny.num_items)[1], ranking)


@pytest.mark.parametrize("node_id", ["batch", "unique", "all"])
@pytest.mark.parametrize(("num_layers", "combine"), BACKBONES)
def test_pyg_loss_and_gradient(tiny, tiny_graph, start, batches, pyg, backbone_of, num_layers, combine, node_id):
    """PyG's lambda |x[node_id]|^2 / B has no half and takes each of the nodes once; ours counts a row where it occurs.

    With l2 = 2 lambda: ours - PyG's = lambda / B sum_n (c_n - s_n) |x_n|^2, where node n occurs c_n times in the batch
    (as user, positive or negative) and s_n times in node_id. It is 0 for node_id = the batch's nodes with repeats, for
    unique nodes where none repeats, and never for PyG's default, all nodes.
    """
    weight = 0.1  # large, so that it is seen
    theirs, backbone = pyg(num_layers, combine), backbone_of(num_layers, combine)

    @jax.jit
    def ours(layer0, graph, batch):
        return jax.value_and_grad(lambda x: losses.bpr(backbone(x, graph), x, batch, 2 * weight))(layer0)

    for step in range(3):
        batch = at(batches, step)
        nodes = np.concatenate([batch.user, batch.positive + tiny.num_users, batch.negative + tiny.num_users])
        occurs = np.bincount(nodes, minlength=tiny.num_users + tiny.num_items)
        assert occurs.max() > 1
        taken = {"batch": occurs, "unique": np.minimum(occurs, 1), "all": np.ones_like(occurs)}[node_id]
        excess = weight / BATCH * (occurs - taken)[:, None]
        loss, gradient = ours(start, tiny_graph, batch)
        theirs.weight.grad = None
        wanted = theirs.loss(batch, weight, node_id)
        wanted.backward()
        np.testing.assert_allclose(loss, wanted.item() + (excess * joint(start) ** 2).sum(), rtol=RTOL)
        np.testing.assert_allclose(
            joint(gradient), theirs.weight.grad.numpy() + 2 * excess * joint(start), rtol=RTOL, atol=1e-6
        )


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("num_layers", "combine"), BACKBONES)
def test_pyg_twenty_adam_steps(tiny_graph, start, some_masks, batches, make, torch, pyg, num_layers, combine, masked):
    program, theirs = make(num_layers, combine), pyg(num_layers, combine)
    kept = some_masks if masked else masks.all_kept(start)
    keep = torch.from_numpy(joint(kept))
    theirs.weight.data.mul_(keep)
    theirs.weight.register_hook(lambda gradient: gradient * keep)
    optimizer = torch.optim.Adam([theirs.weight], lr=LR)
    for step in range(STEPS):
        optimizer.zero_grad()
        theirs.loss(at(batches, step), L2 / 2, "batch").backward()
        optimizer.step()
    state = trained(program, program.start(start, kept), kept, tiny_graph, STEPS)
    np.testing.assert_allclose(joint(state.params), theirs.weight.detach().numpy(), rtol=0, atol=ATOL)


# Matrix factorization and iterative magnitude pruning in plain PyTorch


class TorchMF:
    """Two nn.Embedding, softplus BPR, halved squared rows over B; pruned by torch.nn.utils.prune."""

    def __init__(self, torch, start):
        self.torch = torch
        self.tables = [torch.nn.Embedding.from_pretrained(torch.tensor(np.asarray(x)), freeze=False) for x in start]

    def loss(self, batch, l2):
        ids = [self.torch.tensor(np.asarray(part), dtype=self.torch.long) for part in batch[:3]]
        user, liked, other = (table(i) for table, i in zip((self.tables[0], *self.tables[1:] * 2), ids, strict=True))
        preference = (user * (liked - other)).sum(dim=1)
        squares = sum((rows**2).sum() for rows in (user, liked, other))
        return self.torch.nn.functional.softplus(-preference).mean() + 0.5 * l2 * squares / len(user)

    def parameters(self):
        """The trained tensors; `weight` is one of them, or after a pruning `weight_orig` times the mask."""
        return [next(table.parameters()) for table in self.tables]

    def train(self, batches, steps):
        optimizer = self.torch.optim.Adam(self.parameters(), lr=LR)
        for step in range(steps):
            optimizer.zero_grad()
            self.loss(at(batches, step), L2).backward()
            optimizer.step()
        for table in self.tables:
            table(self.torch.tensor([0]))  # `weight` of a pruned table is made anew at each call, not at each step
        return joint(table.weight.detach().numpy() for table in self.tables)


def test_torch_mf_loss_and_gradient(tiny_graph, start, batches, torch):
    theirs = TorchMF(torch, start)
    for step in range(3):
        batch = at(batches, step)
        loss, gradient = jax.value_and_grad(lambda x, batch=batch: losses.bpr(x, x, batch, 0.3))(start)
        for parameter in theirs.parameters():
            parameter.grad = None
        wanted = theirs.loss(batch, 0.3)
        wanted.backward()
        np.testing.assert_allclose(loss, wanted.item(), rtol=RTOL)
        wanted_gradient = joint(parameter.grad.numpy() for parameter in theirs.parameters())
        np.testing.assert_allclose(joint(gradient), wanted_gradient, rtol=RTOL, atol=1e-6)


def test_torch_mf_twenty_adam_steps(tiny_graph, start, batches, make, torch):
    program, kept = make(0, "mean"), masks.all_kept(start)
    state = trained(program, program.start(start, kept), kept, tiny_graph, STEPS)
    np.testing.assert_allclose(joint(state.params), TorchMF(torch, start).train(batches, STEPS), rtol=0, atol=ATOL)


def test_torch_prunes_the_same_entries_level_by_level(tiny_graph, start, batches, make, torch):
    """IMP with torch.nn.utils.prune.global_unstructured: both tables jointly, a share of what is left each time."""
    program, theirs, steps, levels = make(0, "mean"), TorchMF(torch, start), 5, 6
    both = [(table, "weight") for table in theirs.tables]
    kept = masks.all_kept(start)
    state = program.start(start, kept)
    for level in range(levels + 1):
        final = trained(program, state, kept, tiny_graph, steps)
        wanted = theirs.train(batches, steps)
        np.testing.assert_allclose(joint(final.params), wanted, rtol=0, atol=ATOL)
        by_size = np.sort(np.abs(wanted[joint(kept)]))
        num_drop = round(0.1 * len(by_size))
        assert by_size[num_drop] - by_size[num_drop - 1] > 10 * ATOL, level  # rounding cannot choose
        torch.nn.utils.prune.global_unstructured(both, torch.nn.utils.prune.L1Unstructured, amount=0.1)
        with torch.no_grad():
            for parameter, first in zip(theirs.parameters(), start, strict=True):
                parameter.copy_(torch.tensor(np.asarray(first)))  # rewind
        kept = prune.prune(prune.magnitude(final.params), kept, 0.1, "joint")
        state = program.start(start, kept)
        wanted_masks = joint(table.weight_mask.numpy() for table in theirs.tables)
        np.testing.assert_array_equal(joint(kept), wanted_masks == 1)
    assert masks.num_kept(kept) == 43  # 90, 81, 73, 66, 59, 53, 48, 43


# Recall and NDCG of trec_eval


KS = (1, 3, 10, 60)  # 60 is more than there are items


def by_trec_eval(trec_eval, orders, relevant_of):
    """{(measure, name): value} of rankings {name: items, best first} of users {name: relevant items}."""
    run = {name: {str(item): float(-place) for place, item in enumerate(order)} for name, order in orders.items()}
    relevant = {name: dict.fromkeys(map(str, relevant_of[name]), 1) for name in orders}
    measures = [measure @ k for measure in (trec_eval.R, trec_eval.nDCG) for k in KS]
    return {(found.measure, found.query_id): found.value for found in trec_eval.iter_calc(measures, relevant, run)}


def unseen_and_relevant(scores, seen, held_out):
    """user -> (unseen items, best first, of equals the lower number; relevant items), where there are any."""
    for user in np.unique(held_out[:, 0]).tolist():
        left = np.setdiff1d(np.arange(scores.shape[1]), seen[seen[:, 0] == user, 1])
        yield user, left[np.argsort(-scores[user, left], kind="stable")], held_out[held_out[:, 0] == user, 1]


def test_other_metrics_of_random_scores(trec_eval, drawn):
    """P, Success, RR and AP of users without ties; AP is over R there, and over min(k, R) here."""
    rng, seen, held_out = drawn
    final = Embeddings(*(jnp.asarray(rng.normal(size=(n, 4)), jnp.float32) for n in (30, 50)))
    scores = np.asarray(jnp.dot(final.user, final.item.T, precision="highest"))
    run, relevant = {}, {}
    for user, order, theirs in unseen_and_relevant(scores, seen, held_out):
        run[str(user)] = {str(item): float(-place) for place, item in enumerate(order)}
        relevant[str(user)] = dict.fromkeys(map(str, theirs), 1)
    names = ("precision", "hit", "mrr", "map")
    got = ranking.evaluate(final, ranking.ranking_task(seen, held_out, 30), KS, metrics=names)
    num_relevant = np.array([len(relevant[str(user)]) for user in got.users.tolist()])
    assert num_relevant.max() > 3  # so that min(k, R) and R differ
    for k in KS:
        measures = (trec_eval.P @ k, trec_eval.Success @ k, trec_eval.RR @ k, trec_eval.AP @ k)
        values = {(v.measure, v.query_id): v.value for v in trec_eval.iter_calc(measures, relevant, run)}
        for name, measure in zip(names, measures, strict=True):
            wanted = np.array([values[measure, str(user)] for user in got.users.tolist()])
            if name == "map":
                wanted = wanted * num_relevant / np.minimum(k, num_relevant)
            np.testing.assert_allclose(got.of(name)[k], wanted, rtol=RTOL, err_msg=f"{name}@{k}")


def assert_metrics(trec_eval, got, wanted):
    """Of each user: wanted {(measure, user): value}."""
    assert len(wanted) == 2 * len(KS) * len(got.users)
    for k in KS:
        for measure, values in ((trec_eval.R @ k, got.recall[k]), (trec_eval.nDCG @ k, got.ndcg[k])):
            np.testing.assert_allclose(values, [wanted[measure, user] for user in got.users.tolist()], rtol=RTOL)


@pytest.fixture(params=range(3))
def drawn(request):
    """(random generator, seen pairs, held-out pairs) of 30 users and 50 items; some users have nothing held out."""
    rng = np.random.default_rng(request.param)
    draw = rng.random((30, 50))
    held_out = np.argwhere(draw < 0.08)
    return rng, np.argwhere(draw > 0.8), held_out[held_out[:, 0] % 7 != 0]


def test_metrics_of_random_scores(trec_eval, drawn):
    rng, seen, held_out = drawn
    final = Embeddings(*(jnp.asarray(rng.normal(size=(n, 4)), jnp.float32) for n in (30, 50)))
    scores = np.asarray(jnp.dot(final.user, final.item.T, precision="highest"))
    assert all(len(set(row)) == len(row) for row in scores.tolist())
    orders, relevant = {}, {}
    for user, order, theirs in unseen_and_relevant(scores, seen, held_out):
        orders[str(user)], relevant[str(user)] = order, theirs
    wanted = {
        (measure, int(name)): value for (measure, name), value in by_trec_eval(trec_eval, orders, relevant).items()
    }
    got = ranking.evaluate(final, ranking.ranking_task(seen, held_out, 30), KS)
    assert_metrics(trec_eval, got, wanted)


def test_metrics_of_tied_scores(trec_eval, drawn):
    """trec_eval breaks ties by the items' names; ours are expected values over all orders of items that score alike.

    It is given orders as distinct scores. Recall and NDCG are sums over ranks, so the expectation over a group of equal
    items is the mean over its rotations: in these each item stands at each of the group's ranks once. Groups add up.
    """
    rng, seen, held_out = drawn
    final = Embeddings(*(jnp.asarray(rng.integers(-1, 2, (n, 2)), jnp.float32) for n in (30, 50)))
    scores = np.asarray(final.user) @ np.asarray(final.item).T  # whole numbers from -2 to 2
    orders, relevant = {}, {}
    for user, order, theirs in unseen_and_relevant(scores, seen, held_out):
        orders[f"{user}"] = order
        for group in np.unique(scores[user, order]):
            places = np.flatnonzero(scores[user, order] == group)
            for turn in range(len(places)):
                turned = order.copy()
                turned[places] = np.roll(order[places], turn)
                orders[f"{user} {group} {turn}"] = turned
        relevant |= {name: theirs for name in orders if name.split()[0] == str(user)}
    values = by_trec_eval(trec_eval, orders, relevant)
    wanted = {}
    for measure in {measure for measure, _ in values}:
        for user in np.unique(held_out[:, 0]).tolist():
            plain, groups = values[measure, str(user)], {}
            for name in orders:
                if name.startswith(f"{user} "):
                    groups.setdefault(name.split()[1], []).append(values[measure, name])
            wanted[measure, user] = plain + sum(np.mean(turns) - plain for turns in groups.values())
    got = ranking.evaluate(final, ranking.ranking_task(seen, held_out, 30), KS)
    assert np.mean(got.tied[3]) > 0.5
    assert_metrics(trec_eval, got, wanted)
