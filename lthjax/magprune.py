"""MagPrune: the smallest weights of a trained table set to 0, and nothing trained after: the floor under every method.

After `chenxing1999/recsys-benchmark:scripts/lightgcn/run_mag_prune.py`: users and items each by themselves, every row
keeps at least m entries, and m is the one that is best on the validation part. It tries m by bisection or one by one;
here one by one, and by Recall instead of NDCG, as lthjax chooses everything else.

Letters: M users, N items, F dimensions, R rows.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from lthjax import masks, prune
from lthjax.embeddings import Embeddings
from lthjax.errors import SettingsError
from lthjax.evaluate import RankingTask, evaluate


class Pruned(NamedTuple):
    """A trained table without its smallest weights."""

    params: Embeddings  # 0 where pruned
    masks: Embeddings  # True where kept
    min_per_row: int  # entries that every row keeps


def at_sparsity(
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
    kept = prune.prune(scores, masks.all_kept(trained), sparsity, scope)
    return Pruned(masks.apply(kept, trained), kept, min_per_row)


def most_per_row(dim: int, sparsity: float) -> int:
    """The largest m that a sparsity leaves room for: the whole part of F (1 - sparsity)."""
    return int(dim * (1 - sparsity) + 1e-9)


def best(
    trained: Embeddings,
    sparsity: float,
    embed: Callable[[Embeddings], Embeddings],
    selection: RankingTask,
    ks: tuple[int, ...] = (20,),
) -> Pruned:
    """The best of all m by Recall@ks[0] on the selection part; of equals the smallest.

    Args:
      trained: layer-0 table.
      sparsity: share that falls.
      embed: layer-0 table -> final embeddings.
      selection: the part to choose on; it is ranked F (1 - sparsity) + 1 times.
      ks: places.
    """

    def recall(min_per_row: int) -> float:
        pruned = at_sparsity(trained, sparsity, min_per_row=min_per_row)
        return evaluate(embed(pruned.params), selection, ks[:1]).means()[f"recall@{ks[0]}"]

    # max takes the first of equals. Only the winner is made twice: all tables at once would be F of them.
    winner = max(range(most_per_row(trained.user.shape[1], sparsity) + 1), key=recall)
    return at_sparsity(trained, sparsity, min_per_row=winner)


def _protected(scores: jax.Array, min_per_row: int) -> jax.Array:
    """[R, F], infinite for the highest `min_per_row` of each row; of equals the higher place, as `prune` has it."""
    order = jnp.argsort(scores, axis=1, stable=True)
    place = jnp.argsort(order, axis=1)  # 0 for the smallest of its row
    return jnp.where(place >= scores.shape[1] - min_per_row, jnp.inf, scores)
