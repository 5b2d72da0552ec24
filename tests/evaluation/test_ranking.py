"""The evaluator against sorted(), loops and all orders of tied items."""

import itertools
from typing import NamedTuple

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from lthjax.embeddings import Embeddings
from lthjax.evaluation import metrics
from lthjax.evaluation import ranking as module
from lthjax.evaluation.ranking import evaluate, evaluate_scores, ranking_task, top_items

KS = (3, 1, 5, 20)  # 20 is more than there are items


class Slow(NamedTuple):
    """What a user's metrics must be, for each K."""

    recall: list
    ndcg: list
    tied: list


def slow_metrics(final, seen, held_out, ks):
    """{user: Slow} for users with held-out items; scores are exact."""
    user_rows, item_rows = (np.asarray(part, np.float64) for part in final)
    result = {}
    for user in sorted(set(held_out[:, 0].tolist())):
        left_out = {i for u, i in seen.tolist() if u == user}
        relevant = {i for u, i in held_out.tolist() if u == user}
        scores = item_rows @ user_rows[user]
        ranking = sorted((i for i in range(len(item_rows)) if i not in left_out), key=lambda i: -scores[i])
        groups = [list(group) for _, group in itertools.groupby(ranking, key=lambda i: scores[i])]
        chances = [len(relevant.intersection(group)) / len(group) for group in groups for _ in group]
        ordered = scores[ranking].tolist()
        result[user] = Slow(
            [sum(chances[:k]) / len(relevant) for k in ks],
            [slow_gain(chances[:k]) / slow_gain([1] * min(k, len(relevant))) for k in ks],
            [any(a == b for a, b in itertools.pairwise(ordered[: k + 1])) for k in ks],
        )
    return result


def slow_gain(hits):
    return sum(hit / np.log2(rank + 2) for rank, hit in enumerate(hits))


def over_all_orders(scores, relevant, k):
    """(Recall, NDCG) at K, averaged over every order of the items in which no score comes before a higher one."""
    orders = [
        order
        for order in itertools.permutations(range(len(scores)))
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))
    ]
    lists = [[item in relevant for item in order[:k]] for order in orders]
    ideal = slow_gain([1] * min(k, len(relevant)))
    return np.mean([sum(hits) for hits in lists]) / len(relevant), np.mean([slow_gain(hits) for hits in lists]) / ideal


def check(final, seen, held_out, ks=KS, block_size=None, num_users=7, measure=evaluate):
    got = measure(final, ranking_task(seen, held_out, num_users), ks, block_size)
    wanted = slow_metrics(final, seen, held_out, ks)
    assert got.users.tolist() == list(wanted)
    assert tuple(got.recall) == tuple(got.ndcg) == tuple(got.tied) == ks
    for column, k in enumerate(ks):
        np.testing.assert_allclose(got.recall[k], [of_user.recall[column] for of_user in wanted.values()], rtol=1e-6)
        np.testing.assert_allclose(got.ndcg[k], [of_user.ndcg[column] for of_user in wanted.values()], rtol=1e-6)
        assert got.tied[k].tolist() == [of_user.tied[column] for of_user in wanted.values()]
    return got


def evaluate_products(final, task, ks=(20,), block_size=None):
    """`evaluate_scores` of inner products; call by call as `evaluate`."""
    users, items = (np.asarray(part) for part in final)
    return evaluate_scores(lambda block: users[block] @ items.T, task, len(items), ks, block_size)


BOTH = pytest.mark.parametrize("measure", [evaluate, evaluate_products])


def same_metrics(got, wanted, rtol=0.0):
    for of_got, of_wanted in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(of_got, of_wanted, rtol=rtol)


@pytest.fixture(scope="module")
def tied():
    """Small whole numbers: scores are exact, and many are equal."""
    rng = np.random.default_rng(0)
    return Embeddings(*(jnp.asarray(rng.integers(-1, 2, (n, 3)), jnp.float32) for n in (7, 11)))


@pytest.fixture(scope="module")
def seen_both(tiny):
    return np.concatenate([tiny.train, tiny.valid])


@pytest.mark.parametrize("block_size", [None, 1, 2, 3, 4, 5, 6, 100])
def test_every_block_size_equals_the_slow_one(tiny, tied, seen_both, block_size):
    got = check(tied, seen_both, tiny.test, block_size=block_size)
    assert got.users.tolist() == [0, 2, 4, 5, 6]  # users without held-out items are left out, not counted as 0


@pytest.mark.parametrize("block_size", [None, 1, 2])
def test_scores_made_elsewhere_equal_the_slow_one(tiny, tied, seen_both, block_size):
    check(tied, seen_both, tiny.test, block_size=block_size, measure=evaluate_products)


def test_pairs_in_any_order(tiny, tied, seen_both):
    check(tied, seen_both[::-1], tiny.test[::-1])


def test_random_scores(tiny, seen_both):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        final = Embeddings(*(jnp.asarray(rng.normal(size=(n, 3)), jnp.float32) for n in (7, 11)))
        check(final, seen_both, tiny.test)
        check(final, tiny.train, tiny.test)  # validation items are now ranked


@BOTH
def test_dead_rows_are_a_random_list(tiny, measure):
    """Every one of n unseen items is among the first K with chance K / n, whatever its number."""
    nothing = Embeddings(jnp.zeros((7, 3)), jnp.zeros((11, 3)))
    got = check(nothing, tiny.train, tiny.test, measure=measure)
    num_unseen = np.array([8, 11, 6, 9, 7])
    for k in KS:
        np.testing.assert_allclose(got.recall[k], np.minimum(k, num_unseen) / num_unseen, rtol=1e-6)
        assert got.tied[k].all()


def test_dead_rows_among_many_items_are_a_random_list():
    rng = np.random.default_rng(0)
    held_out = np.argwhere(rng.random((40, 1000)) < 0.01)
    final = Embeddings(jnp.ones((40, 2)), jnp.zeros((1000, 2)))
    got = evaluate(final, ranking_task(np.zeros((0, 2), np.int32), held_out, 40))
    np.testing.assert_allclose(got.recall[20], 20 / 1000, rtol=1e-5)


TIES = (  # scores of a user's unseen items, and which of them are relevant
    ([3, 2, 2, 1, 0], {1, 3}),  # inside
    ([3, 1, 1, 1, 1], {0, 4}),  # the end, and all that follow
    ([2, 2, 1, 1, 1, 0], {1, 2, 5}),  # both
    ([1, 1, 1, 1, 1, 1], {2}),  # everything
    ([0.0, -0.0, 1, -0.0, 0.0, -1], {1, 4}),  # zeros of both signs
    ([0, 5, 0, 5, 0, 5], {0, 1, 2}),  # in no order
    ([4, 3, 2, 1], {0, 3}),  # none
    ([2, 2], {0, 1}),
)


def test_ties_are_the_mean_over_all_orders():
    """Several K at once and alone, up to more than there are items; items beyond a user's list are seen."""
    scores = np.full((len(TIES), 6), 9, np.float32)
    for user, (of_user, _) in enumerate(TIES):
        scores[user, : len(of_user)] = of_user
    seen = np.array([(user, i) for user, (of_user, _) in enumerate(TIES) for i in range(len(of_user), 6)], np.int32)
    held_out = np.array([(user, i) for user, (_, relevant) in enumerate(TIES) for i in sorted(relevant)], np.int32)
    task, ks = ranking_task(seen, held_out, len(TIES)), (3, 1, 2, 4, 5, 6, 9)
    got = evaluate_scores(lambda users: scores[users], task, 6, ks)
    for user, case in enumerate(TIES):
        for k in ks:
            values = got.recall[k][user], got.ndcg[k][user]
            np.testing.assert_allclose(values, over_all_orders(*case, k), rtol=1e-6, err_msg=f"{case}, K = {k}")
    same_metrics(evaluate(Embeddings(jnp.eye(len(TIES)), jnp.asarray(scores.T)), task, ks), got, rtol=1e-6)
    for k in (1, 4, 9):
        alone = evaluate_scores(lambda users: scores[users], task, 6, (k,))
        same_metrics((alone.recall[k], alone.ndcg[k], alone.tied[k]), (got.recall[k], got.ndcg[k], got.tied[k]), 1e-6)


def test_ties_of_unseen_items_only():
    """Seen items neither tie nor take a rank, relevant ones among them included; the end of the list is no tie."""
    scores = np.array([7, 1, 7, 1, 1, 7, 0], np.float32)
    seen = np.array([(0, 0), (0, 3), (0, 5)], np.int32)  # left: 2, then 1 and 4, then 6
    held_out = np.array([(0, 0), (0, 4), (0, 6)], np.int32)
    final = Embeddings(jnp.ones((1, 1)), jnp.asarray(scores)[:, None])
    got = check(final, seen, held_out, ks=(1, 2, 3, 4, 6), num_users=1)
    np.testing.assert_allclose([got.recall[k][0] for k in (1, 2, 3, 4, 6)], np.array([0, 0.5, 1, 2, 2]) / 3, rtol=1e-6)
    assert [bool(got.tied[k][0]) for k in (1, 2, 3, 4, 6)] == [False, True, True, True, True]


def test_a_tie_between_the_last_item_and_the_next_counts(tiny):
    final = Embeddings(jnp.ones((1, 1)), jnp.array([[3.0], [2], [1], [1], [0]]))
    task = ranking_task(np.zeros((0, 2), np.int32), np.array([(0, 3)], np.int32), 1)
    got = evaluate(final, task, (2, 3, 4))
    assert [bool(got.tied[k][0]) for k in (2, 3, 4)] == [False, True, True]
    assert [float(got.recall[k][0]) for k in (2, 3, 4)] == [0, 0.5, 1]


def test_without_ties_it_is_the_plain_definition(many):
    """Bit by bit: hits of the list over relevant items, and their discounted gain."""
    _, seen, held_out = many
    rng = np.random.default_rng(1)
    final = Embeddings(*(jnp.asarray(rng.standard_normal((n, 8), np.float32)) for n in (40, 200)))
    task, ks = ranking_task(seen, held_out, 40), (20, 5, 150)
    got, best = evaluate(final, task, ks), top_items(final, task, 150)
    hits = np.zeros((len(best.users), 150), bool)
    wanted_pairs = set(map(tuple, held_out.tolist()))
    for row, (user, items) in enumerate(zip(best.users.tolist(), best.items.tolist(), strict=True)):
        hits[row] = [(user, item) in wanted_pairs for item in items]
    num_relevant = np.bincount(held_out[:, 0], minlength=40)[best.users].astype(np.int32)
    for k in ks:
        assert not got.tied[k].any()
        np.testing.assert_array_equal(
            got.recall[k], hits[:, :k].sum(axis=1, dtype=np.float32) / num_relevant.astype("f")
        )
        ndcg = jax.jit(jax.vmap(lambda row, count, k=k: metrics.ndcg_at(k, row.astype(jnp.float32), count)))
        np.testing.assert_array_equal(got.ndcg[k], ndcg(hits, num_relevant))


def renumbered(pairs, order):
    return np.stack([pairs[:, 0], order[pairs[:, 1]]], axis=1).astype(np.int32)


@hypothesis.given(
    order=st.permutations(range(200)), seed=st.integers(0, 2**32 - 1), dead=st.floats(0, 1), whole=st.booleans()
)
@hypothesis.settings(max_examples=40)
def test_renumbered_items_change_nothing(many, order, seed, dead, whole):
    """Random tables, some rows dead, some scores tied."""
    _, seen, held_out = many
    rng, order = np.random.default_rng(seed), np.asarray(order)
    users, items = (rng.standard_normal((n, 3), np.float32) * (rng.random((n, 1)) >= dead) for n in (40, 200))
    if whole:
        users, items = np.rint(users), np.rint(items)
    moved = np.empty_like(items)
    moved[order] = items
    final, again = Embeddings(users, items), Embeddings(users, moved)
    task = ranking_task(seen, held_out, 40)
    moved_task = ranking_task(renumbered(seen, order), renumbered(held_out, order), 40)
    got = evaluate(jax.tree.map(jnp.asarray, final), task, (20, 7, 200))
    same_metrics(evaluate(jax.tree.map(jnp.asarray, again), moved_task, (20, 7, 200)), got)
    same_metrics(evaluate_products(again, moved_task, (20, 7, 200)), evaluate_products(final, task, (20, 7, 200)))


@pytest.mark.parametrize("embedding_dim", [1, 8])
@BOTH
def test_zero_and_minus_zero_are_equal_scores(tiny, embedding_dim, measure):
    # Rows that were pruned away score 0 times something: XLA's total order would put -0 behind +0.
    item = np.zeros((11, embedding_dim), np.float32)
    item[::2] = -0.0
    final = Embeddings(-jnp.ones((7, embedding_dim)), jnp.asarray(item))
    assert check(final, tiny.train, tiny.test, ks=(3,), measure=measure).tied[3].all()


def test_a_seen_item_is_never_a_hit(tiny, tied):
    # User 1 has seen everything, user 4 all but items 6 and 7: fewer unseen items than k.
    seen = np.array([(1, i) for i in range(11)] + [(4, i) for i in range(11) if i not in (6, 7)], np.int32)
    held_out = np.array([(1, 2), (1, 3), (4, 0), (4, 7)], np.int32)
    got = check(tied, seen, held_out)
    assert got.users.tolist() == [1, 4]
    assert got.recall[20].tolist() == [0, 0.5]
    assert got.ndcg[20][0] == 0


def test_nothing_seen(tiny, tied):
    got = check(tied, np.zeros((0, 2), np.int32), tiny.test)
    np.testing.assert_allclose(got.recall[20], 1, rtol=1e-6)  # a list of 20 has all 11 items


def test_a_perfect_ranking():
    held_out = np.array([(0, 1), (0, 2), (1, 0)], np.int32)
    final = Embeddings(jnp.eye(2), jnp.array([[0.0, 1], [1, 0], [1, 0]]))
    got = check(final, np.zeros((0, 2), np.int32), held_out, ks=(2,), num_users=2)
    assert got.means() == {"recall@2": 1, "ndcg@2": 1}


def test_means_are_over_users(tiny, tied, seen_both):
    got = evaluate(tied, ranking_task(seen_both, tiny.test, 7), KS)
    wanted = slow_metrics(tied, seen_both, tiny.test, KS)
    means = got.means()
    assert list(means) == [f"{name}@{k}" for k in KS for name in ("recall", "ndcg")]
    for column, k in enumerate(KS):
        for number, name in enumerate(("recall", "ndcg")):
            np.testing.assert_allclose(
                means[f"{name}@{k}"], np.mean([w[number][column] for w in wanted.values()]), rtol=1e-6
            )


def test_raw_scores_are_ranked():
    # A sigmoid of these would be 1 in float32 for all four.
    final = Embeddings(jnp.array([[1.0]]), jnp.array([[50.0], [52.0], [51.0], [53.0]]))
    got = evaluate(final, ranking_task(np.zeros((0, 2), np.int32), np.array([(0, 3), (0, 1)], np.int32), 1), (2,))
    assert got.recall[2].tolist() == [1]


@pytest.fixture(scope="module")
def many():
    """Forty users of two hundred items: some have seen none, some nearly all, so far more than one chunk."""
    rng = np.random.default_rng(0)
    final = Embeddings(*(jnp.asarray(rng.integers(-2, 3, (n, 3)), jnp.float32) for n in (40, 200)))
    share = rng.choice([0.0, 0.1, 0.31, 0.33, 0.9], (40, 1))
    seen = rng.random((40, 200)) < share
    held_out = ~seen & (rng.random((40, 200)) < 0.05)
    held_out[5:8] = False
    return final, np.argwhere(seen), np.argwhere(held_out)


@pytest.mark.parametrize("block_size", [None, 1, 7])
def test_users_with_many_and_few_seen_items(many, block_size):
    got = check(*many, ks=(20, 150), block_size=block_size, num_users=40)
    assert not {5, 6, 7} & set(got.users.tolist())


def test_lists_of_the_best_items(many, monkeypatch):
    """Equal scores by id, -1 after the last unseen item; in blocks whose last dispatch overlaps."""
    final, seen, held_out = many
    monkeypatch.setattr(module, "_SCORES_PER_DISPATCH", 3 * 7 * 200)
    got = top_items(final, ranking_task(seen, held_out, 40), 150, block_size=7)
    assert got.users.tolist() == sorted(set(held_out[:, 0].tolist()))
    user_rows, item_rows = (np.asarray(part) for part in final)
    for user, items in zip(got.users.tolist(), got.items.tolist(), strict=True):
        left_out, scores = set(seen[seen[:, 0] == user, 1].tolist()), item_rows @ user_rows[user]
        wanted = sorted((i for i in range(200) if i not in left_out), key=lambda i: (-scores[i], i))[:150]
        assert items == wanted + [-1] * (150 - len(wanted))
    assert (got.items == -1).any()


@pytest.mark.parametrize("num_scores", [64, 128, 3008])
@pytest.mark.parametrize("num_values", [1, 3, 200])
def test_the_best_are_the_first_of_a_stable_sort(num_scores, num_values):
    """Few different values: ties within groups and across them, zeros of both signs, whole groups masked."""
    rng = np.random.default_rng(num_scores + num_values)
    for k in (1, 20, 64):
        scores = rng.integers(-(num_values // 2), num_values // 2 + 1, num_scores).astype(np.float32)
        scores *= rng.choice([-1.0, 1.0], num_scores)
        scores[rng.random(num_scores) < 0.3] = -np.inf
        scores[:64] = np.where(rng.random() < 0.5, -np.inf, scores[:64])
        best, top = module.top_of(jnp.asarray(scores), k)
        wanted = np.argsort(-scores, kind="stable")[:k]
        np.testing.assert_array_equal(top, wanted)
        np.testing.assert_array_equal(best, scores[wanted])


def test_zeros_of_both_signs_tie_across_groups():
    scores = np.full(192, -1.0, np.float32)
    scores[:64], scores[70] = -0.0, 0.0
    assert module.top_of(jnp.asarray(scores), 1)[1].tolist() == [0]


def test_memory_of_a_block_is_bounded():
    assert module._users_per_block(1_000, "cpu") == 64
    assert module._users_per_block(10**6, "cpu") == 16
    assert module._users_per_block(10**9, "cpu") == 1
    assert module._users_per_block(40_000, "gpu") * 40_000 * 4 <= 2**28
    assert module._users_per_block(1, "gpu") * 64 * 4 <= 2**28


def test_dispatches_overlap_without_a_trace(many, monkeypatch):
    whole = check(*many, ks=(20,), num_users=40)
    monkeypatch.setattr(module, "_SCORES_PER_DISPATCH", 3 * 5 * 200)  # three blocks of five users at a time
    calls = []
    final, seen, held_out = many
    got = evaluate(final, ranking_task(seen, held_out, 40), (20,), 5, between_dispatches=lambda: calls.append(1))
    np.testing.assert_array_equal(got.recall[20], whole.recall[20])
    assert len(got.users) == 36  # eight blocks, the last one filled up: the third dispatch overlaps the second
    assert len(calls) == 3


def test_blocks_share_one_program(many):
    final, seen, held_out = many
    task = ranking_task(seen, held_out, 40)
    module._rank_blocks.clear_cache()
    for shift in range(3):
        evaluate(jax.tree.map(lambda x, s=shift: x + s, final), task, (2,), block_size=7)  # the last overlaps
    assert module._rank_blocks._cache_size() == 1


def test_scores_are_made_for_one_block_at_a_time(many):
    """No more than B users at once, every user of the task, one program; evaluate's own numbers."""
    final, seen, held_out = many
    task, blocks = ranking_task(seen, held_out, 40), []

    def score(users):
        blocks.append(users)
        return np.asarray(final.user)[users] @ np.asarray(final.item).T

    module._rank_scores.clear_cache()
    got = evaluate_scores(score, task, 200, (20, 5), block_size=7)
    assert [len(users) for users in blocks] == [7] * 6
    assert set(np.concatenate(blocks).tolist()) == set(task.users.tolist())
    assert module._rank_scores._cache_size() == 1
    same_metrics(got, evaluate(final, task, (20, 5), block_size=7), rtol=1e-6)


def test_scores_that_are_no_inner_products(tiny):
    """Any float that is above -inf; float64 is ranked as float32."""
    scores = np.random.default_rng(0).permutation(77).reshape(7, 11) ** 3 - 1e5
    got = evaluate_scores(lambda users: scores[users], ranking_task(tiny.train, tiny.test, 7), 11, KS)
    wanted = slow_metrics(Embeddings(np.eye(7), scores.T), tiny.train, tiny.test, KS)
    for column, k in enumerate(KS):
        np.testing.assert_allclose(got.recall[k], [of_user.recall[column] for of_user in wanted.values()], rtol=1e-6)
        np.testing.assert_allclose(got.ndcg[k], [of_user.ndcg[column] for of_user in wanted.values()], rtol=1e-6)


@pytest.mark.parametrize("shape", [(11,), (5, 10), (1, 11)])
def test_scores_of_another_shape_are_refused(tiny, shape):
    with pytest.raises(ValueError, match=r"wanted scores of shape \(5, 11\); got"):
        evaluate_scores(lambda users: np.zeros(shape), ranking_task(tiny.train, tiny.test, 7), 11)
