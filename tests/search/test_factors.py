"""Tables of other libraries' models rank as these models do: implicit itself, LightFM and RecBole by stand-ins."""

import numpy as np
import pytest
import threadpoolctl

import lthjax
from lthjax.errors import DataError, SettingsError


@pytest.fixture(scope="module")
def seen(tastes):
    """[30, 40], what no list may hold: training and validation part."""
    return (tastes.matrix("train") + tastes.matrix("valid")).tocsr()


def lists(dense, tastes, k=10):
    return lthjax.explore(dense, tastes).recommend(tastes.user_ids, k=k).found


def best(scores, seen, tastes, k=10):
    """[30, k] ids of the best items by scores [30, 40], without those that were seen."""
    return tastes.item_ids[np.argsort(-np.where(seen.toarray() > 0, -np.inf, scores), axis=1)[:, :k]]


@pytest.mark.parametrize("kind", ["als.AlternatingLeastSquares", "bpr.BayesianPersonalizedRanking", "lmf.Logistic"])
def test_implicit_s_lists_are_its_own(kind, tastes, seen):
    implicit = pytest.importorskip("implicit", reason="implicit is not installed: pip install 'lthjax[implicit]'")
    models = {
        "als.AlternatingLeastSquares": implicit.cpu.als.AlternatingLeastSquares,
        "bpr.BayesianPersonalizedRanking": implicit.cpu.bpr.BayesianPersonalizedRanking,
        "lmf.Logistic": implicit.cpu.lmf.LogisticMatrixFactorization,
    }
    with threadpoolctl.threadpool_limits(1, "blas"):  # as ALS wants it
        model = models[kind](factors=6, iterations=5, random_state=0, num_threads=1)
        with pytest.raises(SettingsError, match=r"model: wanted a fitted one; got .* without factors"):
            lthjax.from_model(model, tastes)
        model.fit(tastes.matrix(), show_progress=False)
        wanted, _ = model.recommend(np.arange(30), seen, N=10, filter_already_liked_items=True)
    dense = lthjax.from_model(model, tastes)
    np.testing.assert_array_equal(lists(dense, tastes), tastes.item_ids[wanted])
    assert dense.settings.dim == {"als": 6, "bpr": 7, "lmf": 8}[kind[:3]]  # with columns for biases


def test_implicit_fitted_on_another_matrix_has_its_own_ids(tastes, seen):
    implicit = pytest.importorskip("implicit", reason="implicit is not installed: pip install 'lthjax[implicit]'")
    order = np.random.default_rng(0).permutation(40)
    model = implicit.cpu.bpr.BayesianPersonalizedRanking(factors=6, iterations=5, random_state=0, num_threads=1)
    model.fit(tastes.matrix()[:, order], show_progress=False)
    wanted, _ = model.recommend(np.arange(30), seen[:, order].tocsr(), N=10)
    dense = lthjax.from_model(model, tastes, item_ids=tastes.item_ids[order])
    np.testing.assert_array_equal(lists(dense, tastes), tastes.item_ids[order][wanted])


def test_an_implicit_model_without_factors_is_refused(tastes):
    implicit = pytest.importorskip("implicit", reason="implicit is not installed: pip install 'lthjax[implicit]'")
    with pytest.raises(SettingsError, match=r"model: wanted one of implicit with factors, .*; got CosineRecommender"):
        lthjax.from_model(implicit.nearest_neighbours.CosineRecommender(), tastes)


class OnDevice:
    """A matrix of implicit on a GPU: `to_numpy` alone reads it."""

    def __init__(self, values):
        self.values = values

    def to_numpy(self):
        return self.values


class Implicit:
    """Factors of an implicit model on a GPU."""

    def __init__(self, user, item):
        self.user_factors, self.item_factors = OnDevice(user), OnDevice(item)


class LightFM:
    """What LightFM documents of a fitted model: (biases, embeddings), combined over features where there are some."""

    def __init__(self, draws, num_users=30, num_items=40, fitted=True):
        self.fitted = fitted
        self.user_biases, self.item_biases = (
            draws.standard_normal(n).astype(np.float32) for n in (num_users, num_items)
        )
        self.user_embeddings, self.item_embeddings = (
            draws.standard_normal((n, 5)).astype(np.float32) for n in (num_users, num_items)
        )

    def get_user_representations(self, features=None):
        return self._of(features, self.user_biases, self.user_embeddings)

    def get_item_representations(self, features=None):
        return self._of(features, self.item_biases, self.item_embeddings)

    def _of(self, features, biases, embeddings):
        if not self.fitted:
            raise ValueError("You must fit the model before trying to obtain predictions.")
        return (biases, embeddings) if features is None else (features @ biases, features @ embeddings)


class Weight:
    """A parameter of PyTorch."""

    def __init__(self, values):
        self.values = values

    def detach(self):
        return self

    def cpu(self):
        return self

    def numpy(self):
        return self.values


class Embedding:
    """An embedding layer of PyTorch."""

    def __init__(self, values):
        self.weight = Weight(values)


class BPR:
    """RecBole's: row 0 of each table is for padding."""

    def __init__(self, draws):
        self.user_embedding, self.item_embedding = (
            Embedding(draws.standard_normal((n, 5)).astype(np.float32)) for n in (31, 41)
        )


class LightGCN(BPR):
    """RecBole's: the same tables are layer 0."""

    n_layers = 2


class NGCF(BPR):
    """RecBole's: the same tables, but there is more to it."""


class Dataset:
    """RecBole's: tokens are text, in the order in which they came."""

    uid_field, iid_field = "user", "item"

    def __init__(self, user_ids, item_ids):
        self.field2id_token = {"user": np.array(["[PAD]", *user_ids]), "item": np.array(["[PAD]", *item_ids])}

    def id2token(self, field, ids):
        return self.field2id_token[field][ids]


@pytest.fixture
def draws():
    return np.random.default_rng(0)


@pytest.fixture
def dataset(tastes):
    draws = np.random.default_rng(1)
    return Dataset(*(draws.permutation(ids).astype(str) for ids in (tastes.user_ids, tastes.item_ids)))


def test_factors_on_a_gpu(draws, tastes):
    user, item = (draws.standard_normal((n, 5)).astype(np.float32) for n in (30, 40))
    dense = lthjax.from_model(Implicit(user, item), tastes)
    np.testing.assert_array_equal(dense.trained.item, item)


def test_lightfm_ranks_with_item_biases(draws, tastes, seen):
    model = LightFM(draws)
    dense = lthjax.from_model(model, tastes)
    products = model.user_embeddings @ model.item_embeddings.T
    scores = products + model.user_biases[:, None] + model.item_biases  # LightFM's own
    np.testing.assert_array_equal(lists(dense, tastes), best(scores, seen, tastes))
    assert dense.settings.dim == 6


def test_lightfm_with_features(draws, tastes, seen):
    model, features = LightFM(draws, num_items=3), draws.random((40, 3))
    dense = lthjax.from_model(model, tastes, item_features=features)
    scores = model.user_embeddings @ (features @ model.item_embeddings).T + features @ model.item_biases
    np.testing.assert_array_equal(lists(dense, tastes), best(scores, seen, tastes))
    with pytest.raises(DataError, match=r"item: wanted a row for each of the 40 items .*; got 3 rows"):
        lthjax.from_model(model, tastes)


def test_recbole_s_rows_are_found_by_its_tokens(draws, dataset, tastes):
    model = BPR(draws)
    dense = lthjax.from_model(model, tastes, dataset)
    for user in (0, 7, 29):
        place = dataset.field2id_token["user"].tolist().index(str(user))
        np.testing.assert_array_equal(dense.trained.user[user], model.user_embedding.weight.values[place])
    assert dense.settings.model == "mf"


def test_recbole_s_lightgcn_is_propagated(draws, dataset, tastes, seen):
    model = LightGCN(draws)
    dense = lthjax.from_model(model, tastes, dataset)
    assert (dense.settings.model, dense.settings.layers, dense.settings.combine) == ("lightgcn", 2, "mean")
    # As RecBole has it: layers of the normalized adjacency, their mean.
    tables = [model.user_embedding.weight.values[1:], model.item_embedding.weight.values[1:]]
    tokens = [dataset.field2id_token[field][1:].astype(int) for field in ("user", "item")]
    user, item = (table[np.argsort(ids)].astype(np.float64) for table, ids in zip(tables, tokens, strict=True))
    pairs = tastes.matrix().toarray()
    pairs = pairs / np.sqrt(np.maximum(pairs.sum(1)[:, None], 1) * np.maximum(pairs.sum(0), 1))
    final = [user, item]
    for _ in range(2):
        user, item = pairs @ item, pairs.T @ user
        final = [final[0] + user, final[1] + item]
    np.testing.assert_array_equal(lists(dense, tastes), best(final[0] @ final[1].T, seen, tastes))


@pytest.mark.parametrize(
    ("make", "options", "said"),
    [
        (NGCF, {}, "model: wanted one of implicit with factors, of LightFM, or RecBole's BPR or LightGCN; got NGCF"),
        (lambda draws: {"user": 1}, {}, "got dict. lthjax.from_dense takes the arrays"),
        (BPR, {"dataset": None}, "dataset: wanted that of RecBole, which knows whose rows these are; got none"),
        (LightFM, {}, "dataset: wanted none with a model of LightFM; got Dataset"),
        (BPR, {"item_features": np.eye(40)}, "item_features: wanted none with a model of RecBole; got ndarray"),
        (lambda draws: LightFM(draws, fitted=False), {"dataset": None}, "it says: You must fit the model before"),
        (LightGCN, {"layers": 3}, "layers: wanted none, since the model tells it; got 3"),
        (LightFM, {"dataset": None, "item_bias": np.zeros(40)}, "item_bias: wanted none, since the model tells it"),
    ],
)
def test_other_models_and_contradictions_are_refused(make, options, said, draws, dataset, tastes):
    with pytest.raises(SettingsError, match=said):
        lthjax.from_model(make(draws), tastes, **{"dataset": dataset} | options)


def test_tickets_of_a_model(draws, tastes):
    dense = lthjax.from_model(LightFM(draws), tastes)
    options = {"search": "one-shot", "sparsities": "0.5", "epochs": 1, "batch_size": 64, "show_progress": False}
    _, ticket = lthjax.find_tickets(tastes, dense=dense, **options)
    assert (ticket.sparsity, ticket.settings.dim) == (0.5, 6)
