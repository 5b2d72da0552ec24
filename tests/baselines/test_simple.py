"""Popularity, PureSVD, EASE and item-kNN by hand and against dense NumPy, and as results beside a ticket's."""

import dataclasses

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import sparse

import lthjax
from lthjax.baselines import simple
from lthjax.data.split import Split
from lthjax.embeddings import Embeddings
from lthjax.errors import DataError
from lthjax.evaluation.ranking import evaluate_scores, ranking_task
from lthjax.evaluation.verdict import compare
from lthjax.search import problem as problems
from lthjax.settings import Settings
from lthjax.tickets import report, seeds
from lthjax.tickets import ticket as tickets

SETTINGS = Settings(data=None, dim=5)
ALL_USERS = np.arange(7)


@pytest.fixture(scope="module", autouse=True)
def few_dims():
    """F of small data; the dense model's 5 comes beside them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simple, "DIMS", (2, 4))
        yield


@pytest.fixture(scope="module")
def pairs(tiny):
    """X of the tiny data: 7 users, one of them without interactions; 11 items, one of them likewise."""
    return as_matrix(tiny.train, 7, 11)


@pytest.fixture(scope="module")
def many_users():
    """X with more users than items; item 3 is nobody's, items 4 and 5 are of the same users."""
    dense = np.random.default_rng(0).random((40, 9)) < 0.3
    dense[:, 3], dense[:, 5] = False, dense[:, 4]
    return sparse.csr_array(dense.astype(np.float64))


def as_matrix(train, num_users, num_items):
    return sparse.csr_array((np.ones(len(train)), tuple(train.T)), shape=(num_users, num_items))


def dense_of(problem, make_ticket):
    """A dense model that was trained by nobody."""
    split, dim = problem.split, problem.settings.dim
    masks = Embeddings(*(np.ones((rows, dim), bool) for rows in (split.num_users, split.num_items)))
    ticket = make_ticket(split, problem.settings, masks)
    values = np.linspace(0, 1, len(ticket.users))
    return dataclasses.replace(ticket, per_user={"recall@20": values, "ndcg@20": values}, best_epoch=3)


@pytest.fixture(scope="module")
def problem(tastes):
    return problems.prepare(tastes, SETTINGS)


@pytest.fixture(scope="module")
def dense(problem, make_ticket):
    return dense_of(problem, make_ticket)


@pytest.fixture(scope="module")
def results(problem, dense):
    return list(simple.results(problem, dense))


def test_popularity_by_hand(tiny, pairs):
    model = simple.popularity(pairs)
    scores = model.scores(np.array([2, 0]))
    assert scores.tolist() == [[3, 2, 3, 3, 2, 2, 2, 0, 2, 3, 3]] * 2
    assert model.num_stored == 11
    # User 2 wants item 5. Of all items five have three interactions and five, item 5 among them, have two.
    got = evaluate_scores(model.scores, ranking_task(tiny.train, tiny.test, 7), 11, (5, 7, 10))
    assert got.users[1] == 2
    np.testing.assert_allclose([got.recall[k][1] for k in (5, 7, 10)], [0, 2 / 5, 1], rtol=1e-6)


@pytest.mark.parametrize("dim", [1, 3, 6])
def test_pure_svd_is_the_best_approximation(pairs, many_users, dim):
    for matrix in (pairs, many_users):
        model = simple.pure_svd(matrix, dim)
        left, values, right = np.linalg.svd(matrix.toarray(), full_matrices=False)
        wanted = (left[:, :dim] * values[:dim]) @ right[:dim]
        np.testing.assert_allclose(model.scores(np.arange(matrix.shape[0])), wanted, atol=1e-10)
        assert model.num_stored == sum(matrix.shape) * dim


def test_pure_svd_of_more_dimensions_than_there_are(pairs):
    model = simple.pure_svd(pairs, 128)
    np.testing.assert_allclose(model.scores(ALL_USERS), pairs.toarray(), atol=1e-10)
    assert model.num_stored == (7 + 11) * 6


def test_rows_without_interactions_score_exactly_0(pairs, many_users):
    for make in (lambda x: simple.pure_svd(x, 4), lambda x: simple.ease(x, 10.0), lambda x: simple.item_knn(x, 1.0)):
        scores = make(pairs).scores(ALL_USERS)
        assert not scores[2].any()
        assert not scores[:, 7].any()
        assert not make(many_users).scores(np.arange(40))[:, 3].any()


@pytest.mark.parametrize("l2", [0.5, 100.0])
def test_ease_solves_its_normal_equations(pairs, many_users, l2):
    """The derivative by B of ||X - X B||^2 + l2 ||B||^2, (X^T X + l2 I) B - X^T X, is 0 but for the diagonal."""
    for matrix in (pairs, many_users):  # fewer users than items, and more
        num_items = matrix.shape[1]
        gram = (matrix.T @ matrix).toarray()
        model = simple.ease(matrix, l2)
        assert model.num_stored == num_items**2
        inverse = np.linalg.inv(gram + l2 * np.eye(num_items))
        weights = np.eye(num_items) - inverse / np.diag(inverse)
        np.testing.assert_allclose(np.diag(weights), 0, atol=1e-12)
        derivative = (gram + l2 * np.eye(num_items)) @ weights - gram
        np.testing.assert_allclose(derivative - np.diag(np.diag(derivative)), 0, atol=1e-10)
        np.testing.assert_allclose(model.scores(np.arange(matrix.shape[0])), matrix @ weights, atol=1e-10)


def slow_item_knn(matrix, shrinkage, num_neighbours):
    """Scores by loops over items."""
    dense = matrix.toarray()
    num_items = dense.shape[1]
    similarity = np.zeros((num_items, num_items))
    for i in range(num_items):
        for j in range(num_items):
            if i != j and (both := dense[:, i] @ dense[:, j]):
                similarity[i, j] = both / (np.sqrt(dense[:, i].sum() * dense[:, j].sum()) + shrinkage)
    scores = np.zeros(dense.shape)
    for i in range(num_items):
        last = sorted(similarity[i], reverse=True)[:num_neighbours][-1]
        neighbours = [j for j in range(num_items) if similarity[i, j] >= last and similarity[i, j] > 0]
        scores[:, i] = dense[:, neighbours] @ similarity[i, neighbours]
    return scores


@pytest.mark.parametrize("shrinkage", [0.0, 10.0])
@pytest.mark.parametrize("num_neighbours", [1, 3, 100])
@pytest.mark.parametrize("items_per_block", [1, 4, 1024])
def test_item_knn_equals_the_slow_one(pairs, many_users, monkeypatch, shrinkage, num_neighbours, items_per_block):
    monkeypatch.setattr(simple, "_ITEMS_PER_BLOCK", items_per_block)
    for matrix in (pairs, many_users):
        got = simple.item_knn(matrix, shrinkage, num_neighbours).scores(np.arange(matrix.shape[0]))
        np.testing.assert_allclose(got, slow_item_knn(matrix, shrinkage, num_neighbours), rtol=1e-6)


def test_item_knn_by_hand():
    matrix = sparse.csr_array(np.array([[1.0, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 0]]))
    model = simple.item_knn(matrix, 0.0)
    # Items 0 and 1 have the same two users; item 2 has one of those, and another.
    np.testing.assert_allclose(model.scores(np.array([0]))[0], [1, 1, 0.5 + 0.5, 0])
    assert model.num_stored == 6
    np.testing.assert_allclose(simple.item_knn(matrix, 2.0).scores(np.array([0]))[0], [0.5, 0.5, 0.5, 0])


def test_neighbours_that_tie_with_the_last_are_neighbours():
    matrix = sparse.csr_array(np.ones((2, 5)))
    assert simple.item_knn(matrix, 0.0, num_neighbours=2).num_stored == 5 * 4


def test_rows_stand_beside_a_ticket_s(results, problem, dense, tastes):
    assert [result.method for result in results] == [
        "popularity",
        "PureSVD, F = 5",
        "PureSVD, F = 2",
        "EASE",
        "item-kNN",
    ]
    ticket = tickets.result(dense).row()
    for result in results:
        assert set(ticket) | {"method", "note", "valid_recall@20", "valid_ndcg@20"} == set(result.row())
        assert (result.level, result.best_epoch, result.epochs) == (None, 0, 0)
        assert result.metrics["recall@20"] == pytest.approx(result.per_user["recall@20"].mean())
        assert len(result.per_user["ndcg@20"]) == len(dense.users)
        assert result.verdict == compare(dense.per_user["recall@20"], result.per_user["recall@20"], 3, 0)
        assert result.verdict.name in ("better", "wins", "matches", "worse")  # no epochs: never slower
        size = (tastes.num_users + tastes.num_items) * 5
        assert result.sparsity == pytest.approx(1 - result.num_kept / size)
        assert result.seconds >= 0
        assert (result.dead_users, result.cut_short, result.selection) == (None, False, "valid")
    assert len(report.table([ticket, *(result.row() for result in results)])) == 6
    kept = [result.num_kept for result in results]
    assert kept[:4] == [40, 70 * 5, 70 * 2, 40 * 40]
    assert results[1].sparsity == 0


def test_notes_say_what_was_chosen_and_its_cost(results):
    notes = [result.note for result in results]
    assert notes[:2] == ["", ""]
    assert notes[2].startswith("F = 2 is best of 2, 4, 5 on the valid part; choosing took ")
    assert "is best of 30, 100, 300, 1000 on the valid part" in notes[3]
    assert "is best of 0, 10, 100, 1000 on the valid part" in notes[4]


def test_the_best_on_validation_is_chosen(problem, results, tastes):
    matrix = as_matrix(tastes.train, tastes.num_users, tastes.num_items)
    makers = {"L2 = {:g}": (simple.ease, simple.L2), "shrinkage = {:g}": (simple.item_knn, simple.SHRINKAGE)}
    for (name, (make, candidates)), result in zip(makers.items(), results[3:], strict=True):
        recalls = [
            evaluate_scores(make(matrix, value).scores, problem.valid, tastes.num_items).means()["recall@20"]
            for value in candidates
        ]
        best = max(recalls)
        assert result.metrics["valid_recall@20"] == best
        assert result.note.startswith(name.format(candidates[recalls.index(best)]))


def test_one_row_where_the_dense_model_s_dimensions_are_best(tastes, make_ticket):
    problem = problems.prepare(tastes, dataclasses.replace(SETTINGS, dim=2))
    rows = list(simple.results(problem, dense_of(problem, make_ticket)))
    assert [row.method for row in rows if "SVD" in row.method] == ["PureSVD, F = 2"]
    assert rows[1].note.startswith("F = 2 is best of 2, 4 on")


def test_larger_data_do_without_ease(problem, dense, monkeypatch):
    monkeypatch.setattr(simple, "MOST_ITEMS_FOR_EASE", 39)
    assert "EASE" not in {result.method for result in simple.results(problem, dense)}


def test_the_dense_model_s_result_will_do(problem, dense, results):
    """And several seeds share one computation: their verdicts are over users and seeds."""
    again = list(simple.results(problem, tickets.result(dense)))
    assert [(row.num_kept, row.verdict) for row in again] == [(row.num_kept, row.verdict) for row in results]
    other = dataclasses.replace(tickets.result(dense), per_user={name: v / 2 for name, v in dense.per_user.items()})
    rows = seeds.combine([[tickets.result(dense), *results], [other, *results]])
    means = [row["recall@20"] for row in rows[1:]]
    assert means == pytest.approx([result.metrics["recall@20"] for result in results])
    assert [row["recall@20_sd"] for row in rows[1:]] == [0] * len(results)


def test_test_ranks_follow_the_test_mask(tastes, make_ticket):
    """Scores are made from the training part alone; what is left out of the ranks is as the settings say."""
    for test_mask, seen in (("train", tastes.train), ("train+valid", np.concatenate([tastes.train, tastes.valid]))):
        problem = problems.prepare(tastes, dataclasses.replace(SETTINGS, test_mask=test_mask))
        first = next(simple.results(problem, dense_of(problem, make_ticket)))
        counts = np.bincount(tastes.train[:, 1], minlength=40)
        task = ranking_task(seen, tastes.test, tastes.num_users)
        wanted = evaluate_scores(lambda users, counts=counts: np.tile(counts, (len(users), 1)), task, 40)
        np.testing.assert_array_equal(first.per_user["recall@20"], wanted.recall[20])


def test_chosen_on_the_test_part_where_the_settings_say_so(tastes, make_ticket):
    train = np.concatenate([tastes.train, tastes.valid])
    split = dataclasses.replace(tastes, train=train[np.lexsort(train.T[::-1])], valid=np.zeros((0, 2), np.int32))
    problem = problems.prepare(split, dataclasses.replace(SETTINGS, selection="test"))
    rows = list(simple.results(problem, dense_of(problem, make_ticket)))
    assert "on the test part" in rows[-1].note
    assert all(row.selection == "test" and "valid_recall@20" not in row.metrics for row in rows)


@hypothesis.given(order=st.permutations(range(40)))
@hypothesis.settings(max_examples=8)
def test_renumbered_items_change_nothing(order, results, tastes, make_ticket):
    order = np.asarray(order)

    def renumbered(part):
        part = np.stack([part[:, 0], order[part[:, 1]]], axis=1).astype(np.int32)
        return part[np.lexsort(part.T[::-1])]

    ids = np.arange(40)
    parts = map(renumbered, (tastes.train, tastes.valid, tastes.test))
    problem = problems.prepare(Split("renumbered", tastes.user_ids, ids, (), *parts), SETTINGS)
    again = list(simple.results(problem, dense_of(problem, make_ticket)))
    for new, old in zip(again, results, strict=True):
        assert (new.method, new.num_kept, new.tied_users) == (old.method, old.num_kept, old.tied_users)
        for name, values in old.per_user.items():
            np.testing.assert_allclose(new.per_user[name], values, rtol=1e-5, err_msg=f"{old.method}, {name}")


def recall_of(make, split):
    task = ranking_task(np.concatenate([split.train, split.valid]), split.test, split.num_users)
    model = make(as_matrix(split.train, split.num_users, split.num_items))
    return evaluate_scores(model.scores, task, split.num_items).means()["recall@20"]


@pytest.mark.parametrize(
    ("make", "recall"),
    [
        (simple.popularity, 0.1131),
        (lambda x: simple.pure_svd(x, 16), 0.1787),
        (lambda x: simple.pure_svd(x, 32), 0.2194),
        (lambda x: simple.pure_svd(x, 64), 0.2236),
    ],
)
def test_known_figures_of_movielens(make, recall):
    assert recall_of(make, lthjax.load_split("ml-latest-small", Settings())) == pytest.approx(recall, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "recalls"),
    [
        ("tiktok-clickbait", {"popularity": 0.0323, 16: 0.0384, 32: 0.0347, 64: 0.0281}),
        ("kuairand", {"popularity": 0.1181, 16: 0.1442, 32: 0.1368, 64: 0.1243}),
    ],
)
def test_known_figures_of_larger_data(data, recalls):
    try:
        split = lthjax.load_split(data, Settings())
    except DataError:
        pytest.skip(f"{data} is not at hand")
    for method, recall in recalls.items():
        make = simple.popularity if method == "popularity" else lambda x, dim=method: simple.pure_svd(x, dim)
        assert recall_of(make, split) == pytest.approx(recall, abs=1e-4), method
