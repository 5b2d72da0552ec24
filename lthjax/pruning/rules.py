"""Pruning: scores and masks -> sparser masks, by exact count.

A rule is a score (`magnitude`, `uniform`: the entry with the smallest falls first) and a scope, the groups of entries
among which the smallest fall: the joint table, each of the two tables, one of them, each row.

Letters: S entries of a group, R rows, F dimensions.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lthjax.embeddings import Embeddings
from lthjax.errors import SettingsError
from lthjax.pruning import sharded
from lthjax.pruning.masks import Masks, all_kept, apply, num_kept
from lthjax.sharding import draws
from lthjax.sharding.layout import Layout

Scope = Literal["joint", "table", "row", "user", "item"]
Count = Literal["exact", "threshold"]
Score = Callable[[Any, jax.Array], Any]  # (parameters, key) -> a score for each entry; the lowest are pruned


def magnitude(params: Any, key: jax.Array | None = None) -> Any:
    """|w|: the smallest weights fall (paper, algorithm 1, line 5)."""
    del key
    return jax.tree.map(jnp.abs, params)


def uniform(params: Any, key: jax.Array, layout: Layout | None = None) -> Any:
    """Uniform random numbers: any entry may fall (the paper's random pruning, RP).

    Args:
      params: for the shapes.
      key: of the draw.
      layout: of tables on several devices: the numbers of a row are the same on any number of them.
    """

    def score(shape, key, rows, _):
        return draws.uniform(key, shape, rows=rows)

    return _drawn_by_row(score, params, key, layout)


def by_degree(degrees: Any, params: Any, key: jax.Array, layout: Layout | None = None) -> Any:
    """Random numbers under which each row keeps entries in proportion to its degree, at most F, on average exactly.

    The r-th of a row's entries in random order (from 0) scores degree / (r + u), u uniform in [0, 1) for each row: a
    row keeps those above a threshold t, of which there are degree / t on average.

    Args:
      degrees: [R] training interactions of the rows of each table.
      params: for the shapes.
      key: of the random order.
      layout: as of `uniform`.
    """

    def score(shape, key, rows, degree):
        order_key, shift_key = jax.random.split(key)
        order = draws.uniform(order_key, shape, rows=rows)
        rank = jnp.argsort(jnp.argsort(order, axis=1), axis=1)
        shift = draws.uniform(shift_key, (shape[0], 1), low=1e-6, rows=rows)
        return jnp.asarray(degree, jnp.float32)[:, None] / (rank + shift)

    return _drawn_by_row(score, params, key, layout, degrees)


def _drawn_by_row(
    score: Callable[..., jax.Array], params: Any, key: jax.Array, layout: Layout | None, given: Any = None
) -> Any:
    """Scores of every row of each table that are drawn.

    Args:
      score: ((R, F), key, numbers of the rows that are wanted or None for all, what is given of them) -> scores.
      params: for the shapes.
      key: of the draw; each table has its own.
      layout: of tables on several devices.
      given: [R] of the rows of each table.
    """
    keys = _keys_like(params, key)
    given = jax.tree.map(lambda _: None, params) if given is None else given
    if layout is None:
        return jax.tree.map(lambda x, k, g: score(x.shape, k, None, g), params, keys, given)
    shapes = [(num_rows, params.user.shape[1]) for num_rows in layout.rows]

    def scores(tables, keys):
        ids, given = tables
        return Embeddings(*map(score, shapes, keys, ids, given))

    return layout.by_row(scores, (layout.ids(), layout.place(given)), keys)


def _keys_like(tree: Any, key: jax.Array) -> Any:
    """A key for each leaf."""
    leaves, structure = jax.tree.flatten(tree)
    return structure.unflatten(jax.random.split(key, len(leaves)))


BLIND = ("random", "random-by-degree")  # of --prune-by: masks that no training was needed for
SCORES: dict[str, Callable[..., Any]] = {  # by the names of --prune-by
    "magnitude": magnitude,
    "movement": magnitude,  # of weights less those that training began with: `search.steps.scores_of` takes these away
    "random": uniform,
    "random-by-degree": by_degree,  # wants the degrees first
}


def prune(
    scores: Any,
    masks: Masks,
    rate: float,
    scope: Scope = "joint",
    min_per_row: int = 0,
    count: Count = "exact",
    layout: Layout | None = None,
) -> Masks:
    """Masks without the round(rate * n) smallest-scored of the n kept entries of each group.

    By count, not by threshold: a threshold would take all ties with it. Among equal scores the lower index falls first.
    The masks only ever shrink.

    Args:
      scores: like the parameters; entries already pruned do not count, whatever their score.
      masks: the entries kept so far.
      rate: share to prune of what is kept, in (0, 1).
      scope: "joint" ranks all tables together, users and items alike, as the paper does; "table" each table by itself;
        "row" each row by itself; "user" and "item" that table alone, so that the whole gets less sparse than by `rate`.
      min_per_row: with "row", entries that every row keeps (a row that has fewer keeps those).
      count: "exact", or "threshold": what is not strictly above the sorted scores' entry number int(rate * n) falls,
        one entry more, and all that tie with it (`wangyf6891/LTH-MRS:utils/pruning_emb.py`); not by row.
      layout: of tables on several devices.
    """
    if layout is not None:
        return _prune_on_devices(scores, masks, rate, scope, min_per_row, count, layout)
    if scope == "joint":
        flat_scores, flat_masks = _flatten(scores), _flatten(masks)
        return _unflatten(_drop(flat_scores, flat_masks, _num_drop(flat_scores, flat_masks, rate, count)), masks)
    if scope == "table":
        return jax.tree.map(
            lambda s, m: _drop(s.ravel(), m.ravel(), _num_drop(s, m, rate, count)).reshape(m.shape), scores, masks
        )
    if scope in ("user", "item"):
        score, mask = getattr(scores, scope), getattr(masks, scope)
        return masks._replace(**{scope: prune(score, mask, rate, "joint", count=count)})
    return jax.tree.map(lambda s, m: _drop_by_row(s, m, rate, min_per_row), scores, masks)


def random_within_rows(masks: Masks, key: jax.Array) -> Masks:
    """Masks that keep as many entries of each row, but any of them: what is left of masks that lost their entries."""

    def shuffled(mask, key):
        return jax.random.permutation(key, mask, axis=1, independent=True)

    return jax.tree.map(shuffled, masks, _keys_like(masks, key))


def exchange(masks: Masks, weights: Any, gains: Any, number: int, layout: Layout | None = None) -> Masks:
    """Masks of the same size: the kept entries with the smallest weights fall, pruned ones with the largest gains grow.

    What falls does not grow at once (Mocanu et al. 2018; Evci et al. 2020).

    Args:
      masks: True where kept.
      weights: like the parameters; magnitudes count.
      gains: likewise, such as summed gradients.
      number: entries that fall, and as many that grow; fewer where fewer are kept or pruned.
      layout: of tables on several devices.
    """
    if layout is not None:
        return _exchange_on_devices(masks, weights, gains, number, layout)
    kept = _flatten(masks)
    number = min(number, num_kept(masks), int(kept.size) - num_kept(masks))
    stay = _drop(jnp.abs(_flatten(weights)), kept, jnp.int32(number))
    candidates = ~kept
    left_out = _drop(jnp.abs(_flatten(gains)), candidates, jnp.int32(num_kept(candidates) - number))
    return _unflatten(stay | left_out, masks)


def _num_drop(scores: jax.Array, mask: jax.Array, rate: float, count: Count) -> int:
    if count == "exact":
        return round(rate * num_kept(mask))
    kept = np.sort(np.asarray(scores)[np.asarray(mask)])
    return int(np.searchsorted(kept, kept[int(rate * len(kept))], side="right")) if len(kept) else 0


def _prune_on_devices(
    scores: Embeddings, masks: Masks, rate: float, scope: Scope, min_per_row: int, count: Count, layout: Layout
) -> Masks:
    """As `prune`, where the tables lie."""
    if scope == "row":
        table = _num_drop_by_kept(scores.user.shape[1], rate, min_per_row)

        def by_row(tables, table):
            return jax.tree.map(lambda s, m: _drop_each_row(s, m, table), *tables)

        return layout.by_row(by_row, (scores, masks), table)
    groups = {"joint": (None,), "table": Embeddings._fields}.get(scope, (scope,))
    for side in groups:
        group = masks if side is None else sharded.of_side(masks, side, jnp.zeros_like)
        kept = num_kept(group)
        number = round(rate * kept)
        if count == "threshold":
            number = sharded.num_up_to(scores, group, int(rate * kept), layout) if kept else 0
        left = sharded.drop(scores, group, number, layout)
        masks = left if side is None else masks._replace(**{side: getattr(left, side)})
    return masks


def _exchange_on_devices(masks: Masks, weights: Any, gains: Any, number: int, layout: Layout) -> Masks:
    """As `exchange`, where the tables lie."""
    kept, size = num_kept(masks), sum(layout.rows) * masks.user.shape[1]
    number = min(number, kept, size - kept)
    stay = sharded.drop(jax.tree.map(jnp.abs, weights), masks, number, layout)
    candidates = jax.tree.map(lambda every, m: every & ~m, layout.all_kept(masks.user.shape[1]), masks)
    left_out = sharded.drop(jax.tree.map(jnp.abs, gains), candidates, size - kept - number, layout)
    return jax.tree.map(jnp.logical_or, stay, left_out)


def _drop_by_row(scores: jax.Array, mask: jax.Array, rate: float, min_per_row: int) -> jax.Array:
    return _drop_each_row(scores, mask, _num_drop_by_kept(mask.shape[-1], rate, min_per_row))


def _drop_each_row(scores: jax.Array, mask: jax.Array, num_drop_by_kept: np.ndarray) -> jax.Array:
    kept = jnp.sum(mask, axis=-1, dtype=jnp.int32)  # [R]
    return jax.vmap(_drop)(scores, mask, jnp.asarray(num_drop_by_kept)[kept])


def _num_drop_by_kept(dim: int, rate: float, min_per_row: int) -> np.ndarray:
    """[F + 1] int32, how many entries fall in a row that keeps 0, 1, ... F: rounded in float64, as counts are."""
    kept = np.arange(dim + 1)
    return np.minimum(np.rint(rate * kept), np.maximum(kept - min_per_row, 0)).astype(np.int32)


@jax.jit
def _drop(scores: jax.Array, mask: jax.Array, num_drop: jax.Array) -> jax.Array:
    """[S] bool, `mask` without its `num_drop` smallest scores."""
    # What is pruned comes last: behind infinity and NaN too, or it would fall again in the place of something kept.
    order = jnp.argsort(jnp.where(mask, sharded.sortable(scores), jnp.uint32(2**32 - 1)), stable=True)
    falls = jnp.zeros_like(mask).at[order].set(jnp.arange(mask.size) < num_drop, unique_indices=True)
    return mask & ~falls


def _flatten(tree: Any) -> jax.Array:
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)])


def _unflatten(flat: jax.Array, like: Any) -> Any:
    leaves, structure = jax.tree.flatten(like)
    cuts = np.cumsum([leaf.size for leaf in leaves])[:-1].tolist()
    return structure.unflatten(
        part.reshape(leaf.shape) for part, leaf in zip(jnp.split(flat, cuts), leaves, strict=True)
    )


class Pruned(NamedTuple):
    """A trained table without its smallest weights."""

    params: Embeddings  # 0 where pruned
    masks: Embeddings  # True where kept
    min_per_row: int  # entries that every row keeps


def prune_to_sparsity(
    trained: Embeddings, sparsity: float, *, min_per_row: int = 0, scope: Literal["table", "joint"] = "table"
) -> Pruned:
    """Without the round(sparsity * n) smallest of n weights, but for the `min_per_row` largest of each row.

    Args:
      trained: layer-0 table.
      sparsity: share that falls, from 0 up to below 1.
      min_per_row: m, at most the whole part of F (1 - sparsity).
      scope: "table" takes the share of users and items each; "joint" of both together, as tickets are pruned.

    Raises:
      SettingsError: no such share, or more to keep than it leaves.
    """
    dim = trained.user.shape[1]
    if not 0 <= sparsity < 1:
        raise SettingsError(f"sparsity: wanted a share from 0 to below 1; got {sparsity!r}.")
    if not 0 <= min_per_row <= most_per_row(dim, sparsity):
        raise SettingsError(
            f"min_per_row: wanted 0 to {most_per_row(dim, sparsity)} of {dim} entries at a sparsity of {sparsity:.1%}; "
            f"got {min_per_row}."
        )
    scores = jax.tree.map(lambda w: _protected(jnp.abs(w), min_per_row), trained)
    kept = prune(scores, all_kept(trained), sparsity, scope)
    return Pruned(apply(kept, trained), kept, min_per_row)


def most_per_row(dim: int, sparsity: float) -> int:
    """The largest m that a sparsity leaves room for: the whole part of F (1 - sparsity)."""
    return int(dim * (1 - sparsity) + 1e-9)


def _protected(scores: jax.Array, min_per_row: int) -> jax.Array:
    """[R, F], infinite for the highest `min_per_row` of each row; of equals the higher place, as in `prune`."""
    order = jnp.argsort(scores, axis=1, stable=True)
    place = jnp.argsort(order, axis=1)  # 0 for the smallest of its row
    return jnp.where(place >= scores.shape[1] - min_per_row, jnp.inf, scores)
