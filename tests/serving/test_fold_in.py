"""Folding in: propagation against dense algebra, gradient steps against SciPy's minimum, masks, and trained tickets."""

import dataclasses

import numpy as np
import pytest
from scipy import optimize, sparse

import lthjax
from lthjax.embeddings import Embeddings
from lthjax.errors import DataError, SettingsError
from lthjax.evaluation import ranking as evaluate
from lthjax.serving import fold_in as folding
from lthjax.settings import Settings

L2 = 0.05


@pytest.fixture(scope="module")
def ticket_of(tiny_split, some_masks, tiny, make_ticket):
    """A ticket with drawn weights under `some_masks`; settings -> Ticket."""

    def make(**changes):
        settings = Settings(dim=tiny.embedding_dim, batch_size=4, levels=1, l2=L2, data=None, **changes)
        return make_ticket(tiny_split, settings, some_masks, level=1)

    return make


def dense_layers(ticket, split, num_layers):
    """Layers 0 to K of all nodes [K + 1, M + N, F], by dense algebra in float64."""
    num_users = split.num_users
    adjacency = np.zeros((num_users + split.num_items,) * 2)
    adjacency[split.train[:, 0], split.train[:, 1] + num_users] = 1
    adjacency += adjacency.T
    degree = np.maximum(adjacency.sum(axis=0), 1)
    adjacency /= np.sqrt(np.outer(degree, degree))
    layers = [np.concatenate(ticket.trained).astype(np.float64)]
    for _ in range(num_layers):
        layers.append(adjacency @ layers[-1])
    return np.stack(layers)


@pytest.mark.parametrize(("num_layers", "combine"), [(1, "sum"), (3, "mean")])
def test_lightgcn_is_dense_algebra(ticket_of, tiny_split, tiny, num_layers, combine):
    """Item 57 was in no training interaction: it is left out, and out of the degree too."""
    ticket = ticket_of(model="lightgcn", layers=num_layers, combine=combine)
    folded = lthjax.fold_in(ticket, tiny_split, [[50, 53, 57], [60]])
    layers = dense_layers(ticket, tiny_split, num_layers)
    item_degree = np.bincount(tiny.train[:, 1], minlength=tiny.num_items)
    weight = 1 / (num_layers + 1) if combine == "mean" else 1
    for row, items in enumerate(([0, 3], [10])):
        wanted = np.zeros(tiny.embedding_dim)
        for layer in layers[:-1]:
            for item in items:
                wanted += weight * layer[tiny.num_users + item] / np.sqrt(len(items) * item_degree[item])
        np.testing.assert_allclose(folded.final[row], wanted, rtol=1e-5, atol=1e-6)
    assert folded.layer0 is None
    assert folded.masks is None
    np.testing.assert_allclose(np.concatenate(folded.known), weight * layers.sum(axis=0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("side", ["user", "item"])
def test_lightgcn_gives_known_rows_what_they_have_but_for_layer_0(ticket_of, tiny_split, tiny, side):
    ticket = ticket_of(model="lightgcn", layers=2)
    own = sparse.csr_array((np.ones(len(tiny.train)), tiny.train.T), shape=(tiny.num_users, tiny.num_items))
    folded = lthjax.fold_in(ticket, tiny_split, own if side == "user" else own.T, side)
    known, layer0 = (np.asarray(getattr(tree, side)) for tree in (folded.known, ticket.trained))
    active = own.sum(axis=1 if side == "user" else 0) > 0
    np.testing.assert_allclose(folded.final[active], (known - layer0 / 3)[active], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(folded.final[~active], known[active].mean(axis=0)[None].repeat((~active).sum(), 0), 1e-5)


def softplus(x):
    return np.logaddexp(0, x)


def user_loss(row, met, ticket):
    """Expected loss of a new MF user: every item of S against every other, alike."""
    item = np.asarray(ticket.trained.item, np.float64)
    others = np.setdiff1d(np.arange(len(item)), met)
    preference = (item[met][:, None] - item[others][None]) @ row
    return softplus(-preference).mean() + L2 / 2 * row @ row


def item_loss(row, fans, ticket, train):
    """Expected loss of a new MF item, as positive and as negative, by loops over what an epoch would draw."""
    user, item = (np.asarray(table, np.float64) for table in ticket.trained)
    total = weights = 0.0
    for fan in fans:
        absent = np.setdiff1d(np.arange(len(item)), train[train[:, 0] == fan, 1])
        total += np.mean([softplus(-user[fan] @ (row - item[j])) for j in absent])
        weights += 1
    for other, theirs in train:
        if other not in fans:
            weight = 1 / (len(item) + 1 - np.count_nonzero(train[:, 0] == other))
            total += weight * softplus(-user[other] @ (item[theirs] - row))
            weights += weight
    return total / weights + L2 / 2 * row @ row


def test_mf_user_rows_come_to_the_minimum_of_their_loss(ticket_of, tiny_split, tiny):
    ticket = ticket_of()
    rows = [[0, 3], [10, 1, 4]]
    ids = [[50 + item for item in row] for row in rows]
    folded = lthjax.fold_in(ticket, tiny_split, ids, keep="dense", steps=1500)
    again = lthjax.fold_in(ticket, tiny_split, [ids[0], [60]], keep="dense", steps=1500)
    np.testing.assert_allclose(again.final[0], folded.final[0], rtol=1e-4, atol=1e-5)  # rows do not know of one another
    for row, met in enumerate(rows):
        best = optimize.minimize(user_loss, np.zeros(tiny.embedding_dim), (met, ticket))
        ours = user_loss(folded.final[row].astype(np.float64), met, ticket)
        nothing = user_loss(np.zeros(tiny.embedding_dim), met, ticket)
        assert best.fun <= ours + 1e-6
        assert ours - best.fun < 0.01 * (nothing - best.fun)


def test_mf_item_rows_come_to_the_minimum_of_their_loss(ticket_of, tiny_split, tiny):
    ticket = ticket_of()
    rows = [[0, 4], [6]]
    folded = lthjax.fold_in(ticket, tiny_split, [[100, 104], [106]], "item", keep="dense", steps=1500)
    for row, fans in enumerate(rows):
        best = optimize.minimize(item_loss, np.zeros(tiny.embedding_dim), (fans, ticket, tiny.train))
        ours, nothing = (
            item_loss(x, fans, ticket, tiny.train)
            for x in (folded.final[row].astype(np.float64), np.zeros(tiny.embedding_dim))
        )
        assert best.fun <= ours + 1e-6
        assert ours - best.fun < 0.02 * (nothing - best.fun)


def test_several_negatives_have_the_minimum_of_one(ticket_of, tiny_split):
    one, several = (
        lthjax.fold_in(ticket_of(negatives=negatives), tiny_split, [[50, 53]], keep="dense") for negatives in (1, 5)
    )
    np.testing.assert_array_equal(one.final, several.final)


@pytest.mark.parametrize(
    ("changes", "came"),
    [
        ({"loss": "sampled-softmax"}, "--loss sampled-softmax"),
        ({"loss": "cosine-bpr"}, "--loss cosine-bpr"),
        ({"negative_sampling": "popularity"}, "--negative-sampling popularity"),
        ({"weights": "log"}, "--weights log"),
        ({"dislikes": True}, "--dislikes True"),
    ],
)
def test_other_losses_and_negatives_are_refused_where_steps_are_made(ticket_of, tiny_split, changes, came):
    said = f"^fold_in: wanted a ticket of MF or LightGCN, trained with BPR on uniform .*; got one with {came}"
    values = np.arange(1, len(tiny_split.train) + 1, dtype=np.float32)
    pairs = np.array([[0, 1]], np.int32)
    split = dataclasses.replace(tiny_split, train_values=values, dislikes=pairs)
    with pytest.raises(SettingsError, match=said):
        lthjax.fold_in(dataclasses.replace(ticket_of(**changes), fingerprint=split.fingerprint), split, [[50]])
    plain, other = (ticket_of(model="lightgcn", **more) for more in ({}, changes))
    wanted, folded = (
        lthjax.fold_in(dataclasses.replace(ticket, fingerprint=split.fingerprint), split, [[50, 53]])
        for ticket in (plain, other)
    )
    np.testing.assert_array_equal(folded.final, wanted.final)  # LightGCN propagates, without a step


@pytest.mark.parametrize("model", ["mf", "lightgcn"])
def test_masked_entries_are_0_and_the_largest_stay(ticket_of, tiny_split, some_masks, model):
    ticket = ticket_of(model=model, layers=2)
    folded = lthjax.fold_in(ticket, tiny_split, [[50, 53], [], [57], [60]], keep="mean", steps=300)
    kept = np.asarray(some_masks.user)[[0, 1, 3, 4, 5, 6]].sum(axis=1)  # user 2 has no training interactions
    assert folded.masks.sum(axis=1).tolist() == [round(kept.mean()), 0, 0, round(kept.mean())]  # nobody has item 57
    assert np.all(folded.layer0[~folded.masks] == 0)
    assert np.all(folded.layer0[folded.masks] != 0)
    whole = lthjax.fold_in(ticket, tiny_split, [[50, 53], [], [57], [60]], keep="dense", steps=300)
    for row in (0, 3):
        size = np.abs(whole.layer0[row])
        assert size[folded.masks[row]].min() >= size[~folded.masks[row]].max()
    average = np.asarray(folded.known.user)[[0, 1, 3, 4, 5, 6]].mean(axis=0)
    np.testing.assert_allclose(folded.final[[1, 2]], [average, average], rtol=1e-5)
    if model == "mf":
        np.testing.assert_array_equal(folded.final[[0, 3]], folded.layer0[[0, 3]])
    else:  # a layer of three, beside what propagation gives
        alone = lthjax.fold_in(ticket, tiny_split, [[50, 53], [], [57], [60]]).final
        np.testing.assert_allclose(folded.final, alone + folded.layer0 / 3, rtol=1e-5, atol=1e-6)


def test_entries_to_keep_by_hand():
    """Two kinds of rows: 60 with degree 2 keep one entry, 60 with degree 9 keep three; two without count nowhere."""
    kept = np.repeat([1, 3, 4], [60, 60, 2])
    of_side = np.arange(4) < kept[:, None]
    degree = np.repeat([2, 9, 0], [60, 60, 2])
    assert folding.entries_to_keep(of_side, degree, np.array([1, 50]), "mean").tolist() == [2, 2]
    assert folding.entries_to_keep(of_side, degree, np.array([0, 1, 2, 9, 50]), "degree").tolist() == [1, 1, 1, 3, 3]
    assert folding.entries_to_keep(of_side, degree, np.array([5]), "degree").tolist() == [2]  # between: all of both
    assert folding.entries_to_keep(of_side[:3], degree[:3], np.array([7]), "degree").tolist() == [1]  # fewer than 50
    assert folding.entries_to_keep(np.zeros_like(of_side), degree, np.array([7]), "mean").tolist() == [1]


def test_largest_by_hand():
    values = np.array([[0.1, -0.4, 0.2, 0.3], [1.0, -1.0, 1.0, 1.0]])
    kept = folding.largest(values, np.array([2, 1]))
    np.testing.assert_array_equal(kept, [[False, True, False, True], [False, False, False, True]])


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        ("mf", {"side": "users"}, "side: wanted one of user, item; got 'users'"),
        ("mf", {"keep": "none"}, "keep: wanted one of mean, degree, dense; got 'none'"),
        ("mf", {"steps": 0}, "steps: wanted a whole number from 1 to below 2\\^31; got 0"),
        ("lightgcn", {"steps": -1}, "steps: wanted a whole number from 0"),
        ("mf", {"learning_rate": 0.0}, "learning_rate: wanted a positive number; got 0.0"),
        ("mf", {"seed": 0.5}, "seed: wanted a whole number"),
    ],
)
def test_choices_out_of_range_are_named(ticket_of, tiny_split, model, options, said):
    with pytest.raises(SettingsError, match=said):
        lthjax.fold_in(ticket_of(model=model), tiny_split, [[50]], **options)


def test_ids_and_data_are_the_tickets(ticket_of, tiny_split):
    with pytest.raises(DataError, match="wanted item ids of the ticket's data, got 1 that it does not have: 100"):
        lthjax.fold_in(ticket_of(), tiny_split, [[100]])
    with pytest.raises(DataError, match="wanted user ids of the ticket's data, got 1 that it does not have: 50"):
        lthjax.fold_in(ticket_of(), tiny_split, [[50]], "item")
    with pytest.raises(DataError, match="tiny: wanted the data that the ticket was found on; got others"):
        lthjax.fold_in(ticket_of(), dataclasses.replace(tiny_split, train=tiny_split.train[1:]), [[50]])
    with pytest.raises(DataError, match="wanted the data, as data="):
        lthjax.fold_in(ticket_of(), None, [[50]])


def test_known_users_folded_in_are_as_good_as_trained():
    """Users of four tastes; each one's training items, folded into the dense model and a ticket, rank as the trained
    row does."""
    draws = np.random.default_rng(0)
    liked = np.arange(80).reshape(4, 20)
    pairs = [(user, item) for user in range(60) for item in draws.choice(liked[user % 4], 12, replace=False)]
    matrix = sparse.csr_array((np.ones(len(pairs)), np.array(pairs).T), shape=(60, 80))
    settings = Settings(dim=8, epochs=40, eval_every=20, patience=0, sparsities="0.4", batch_size=128)
    interactions = lthjax.load_split(matrix, settings)
    task = evaluate.ranking_task(np.concatenate([interactions.train, interactions.valid]), interactions.test, 60)
    own = sparse.csr_array((np.ones(len(interactions.train)), interactions.train.T), shape=(60, interactions.num_items))
    for ticket in lthjax.find_tickets(interactions, settings=settings):
        folded = lthjax.fold_in(ticket, interactions, own)
        measured = evaluate.evaluate(Embeddings(folded.final, folded.known.item), task).means()["recall@20"]
        assert ticket.metrics["recall@20"] > 0.7  # chance: 0.29
        assert measured > ticket.metrics["recall@20"] - 0.05  # better is no wonder: these rows come to their minimum
        assert folded.masks.mean() == pytest.approx(np.asarray(ticket.masks.user).mean(), abs=0.5 / 8)
