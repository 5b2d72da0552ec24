"""The evaluator against sorted() and loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.embeddings import Embeddings
from lthjax.evaluation import ranking as module
from lthjax.evaluation.ranking import evaluate, ranking_task, top_items

KS = (3, 1, 5, 20)  # 20 is more than there are items


def slow_metrics(final, seen, held_out, ks):
    """{user: [(recall, ndcg) for k in ks]} for users with held-out items; integer scores tie often, lower id first."""
    user_rows, item_rows = (np.asarray(part, np.float64) for part in final)
    result = {}
    for user in sorted(set(held_out[:, 0].tolist())):
        left_out = {i for u, i in seen.tolist() if u == user}
        relevant = {i for u, i in held_out.tolist() if u == user}
        scores = item_rows @ user_rows[user]
        ranking = sorted((i for i in range(len(item_rows)) if i not in left_out), key=lambda i: (-scores[i], i))
        result[user] = []
        for k in ks:
            hits = [i in relevant for i in ranking[:k]]
            gain = sum(hit / np.log2(rank + 2) for rank, hit in enumerate(hits))
            ideal = sum(1 / np.log2(rank + 2) for rank in range(min(k, len(relevant))))
            result[user].append((sum(hits) / len(relevant), gain / ideal))
    return result


def check(final, seen, held_out, ks=KS, block_size=None, num_users=7):
    got = evaluate(final, ranking_task(seen, held_out, num_users), ks, block_size)
    wanted = slow_metrics(final, seen, held_out, ks)
    assert got.users.tolist() == list(wanted)
    assert tuple(got.recall) == tuple(got.ndcg) == ks
    for column, k in enumerate(ks):
        np.testing.assert_allclose(got.recall[k], [wanted[u][column][0] for u in wanted], rtol=1e-6)
        np.testing.assert_allclose(got.ndcg[k], [wanted[u][column][1] for u in wanted], rtol=1e-6)
    return got


@pytest.fixture(scope="module")
def tied(tiny):
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


def test_pairs_in_any_order(tiny, tied, seen_both):
    check(tied, seen_both[::-1], tiny.test[::-1])


def test_random_scores(tiny, seen_both):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        final = Embeddings(*(jnp.asarray(rng.normal(size=(n, 3)), jnp.float32) for n in (7, 11)))
        check(final, seen_both, tiny.test)
        check(final, tiny.train, tiny.test)  # validation items are now ranked


def test_equal_scores_rank_by_id(tiny):
    nothing = Embeddings(jnp.zeros((7, 3)), jnp.ones((11, 3)))
    got = check(nothing, tiny.train, tiny.test, ks=(3,))
    assert got.recall[3].tolist() == [0.5, 0, 1, 0.75, 1]  # each user's first unseen items by id


@pytest.mark.parametrize("embedding_dim", [1, 8])
@pytest.mark.parametrize("block_size", [None, 1])
def test_zero_and_minus_zero_are_equal_scores(tiny, embedding_dim, block_size):
    # Rows that were pruned away score 0 times something: XLA's total order would put -0 behind +0.
    item = np.zeros((11, embedding_dim), np.float32)
    item[::2] = -0.0
    check(
        Embeddings(-jnp.ones((7, embedding_dim)), jnp.asarray(item)),
        tiny.train,
        tiny.test,
        ks=(3,),
        block_size=block_size,
    )


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
    assert (got.recall[20] == 1).all()  # a list of 20 has all 11 items


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
                means[f"{name}@{k}"], np.mean([w[column][number] for w in wanted.values()]), rtol=1e-6
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
        best, top = module._top(jnp.asarray(scores), k)
        wanted = np.argsort(-scores, kind="stable")[:k]
        np.testing.assert_array_equal(top, wanted)
        np.testing.assert_array_equal(best, scores[wanted])


def test_zeros_of_both_signs_tie_across_groups():
    scores = np.full(192, -1.0, np.float32)
    scores[:64], scores[70] = -0.0, 0.0
    assert module._top(jnp.asarray(scores), 1)[1].tolist() == [0]


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
