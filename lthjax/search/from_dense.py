"""A table that was trained elsewhere, as level 0 to prune from.

    dense = lthjax.from_dense(user, item, split)
    for ticket in lthjax.find_tickets(split, dense=dense, search="one-shot", sparsities="0.5"):
        print(ticket)

Nothing is known of how it was trained: there are no first values to rewind to, no epoch that a ticket could be earlier
than, and no cost to count searches in. Tickets go on from its values (`rewind` lr or none), or from fresh ones
(reinit). `search.factors` reads the tables of other libraries' models.

Letters: M users, N items, F dimensions, R rows that are given.
"""

import dataclasses
import warnings
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, get_args

import jax.numpy as jnp
import numpy as np

from lthjax import presets
from lthjax.data import ids as naming
from lthjax.data import resolve
from lthjax.data.split import Split
from lthjax.embeddings import Embeddings
from lthjax.errors import DataError, SettingsError
from lthjax.evaluation import verdict
from lthjax.model.backbones import Backbone
from lthjax.pruning import masks as masking
from lthjax.search import factors
from lthjax.search.given import Given
from lthjax.search.measuring import measure
from lthjax.search.problem import Problem, prepare
from lthjax.settings import CHEAP_SEARCHES, Settings
from lthjax.tickets.effort import Cost, Effort
from lthjax.tickets.ticket import Ticket
from lthjax.training import fingerprint

Missing = Literal["refuse", "zeros"]

_NUM_NAMED = 5  # ids that an error names


def from_dense(
    user: Any,
    item: Any,
    split: Any,
    *,
    user_ids: Iterable[Any] | None = None,
    item_ids: Iterable[Any] | None = None,
    user_bias: Any = None,
    item_bias: Any = None,
    missing: Missing = "refuse",
    backbone: Backbone | None = None,
    settings: Settings | None = None,
    **changes: Any,
) -> Ticket:
    """A dense model (level 0) of a table that was trained elsewhere, measured on the validation and the test part.

    The score of an item is the product of the two rows; with `model="lightgcn"` the table is layer 0 and is propagated
    over the split's training part first. Biases become columns, so that the score stays what it was: the product of
    u' = [u, b_u, 1] and v' = [v, 1, b_v] is u v + b_u + b_v; with item biases alone they are [u, 1] and [v, b_v]. To
    pruning and training these are columns like any other. Values are kept as float32.

    `find_tickets(split, dense=...)` starts from the settings of this ticket, and takes it for every seed.

    Args:
      user: [R, F] numbers, whatever NumPy takes as an array.
      item: likewise.
      split: the Split, or what `find_tickets` makes it of.
      user_ids: [R] original ids of the rows, in any order, each once; numbers and their text are the same id. By
        default the rows are the split's users in its order, R = M.
      item_ids: likewise.
      user_bias: [R], added to the scores of a user: it changes no ranking.
      item_bias: [R], added to the scores of an item.
      missing: what becomes of users and items of the split that have no row: refuse, or zeros, so that all their scores
        are 0. Rows that the split does not have are left out. Both are counted in a warning.
      backbone: of the final embeddings, as in `find_tickets`.
      settings: where to start from; by default as in `find_tickets`, with `rewind="lr"`.
      **changes: single settings, such as `model="lightgcn", layers=2`; `dim` is F.

    Raises:
      DataError: other shapes than the split's, ids that are missing or come twice, values that are not finite.
      SettingsError: a setting out of its range, or `dim` another than F.
    """
    if missing not in get_args(Missing):
        raise SettingsError(f"missing: wanted {' or '.join(get_args(Missing))}; got {missing!r}.")
    if isinstance(split, Split) and settings is None:
        changes["data"] = None
    if settings is None:
        settings = presets.find(presets.for_model("none", changes.get("model", "mf")))
        changes = {"rewind": "lr"} | changes
    users, items = _numbers(user, "user", 2), _numbers(item, "item", 2)
    if users.shape[1] != items.shape[1]:
        raise DataError(f"user and item: wanted the same F; got user {users.shape} and item {items.shape}.")
    biases = (
        None if user_bias is None else _numbers(user_bias, "user_bias", 1, len(users)),
        None if item_bias is None else _numbers(item_bias, "item_bias", 1, len(items)),
    )
    given = with_biases(users, items, *biases)
    dim = given.user.shape[1]
    if changes.get("dim", dim) != dim:
        raise SettingsError(f"dim: wanted {dim}, which the table has, its biases too; got {changes['dim']}.")
    settings, split = resolve.settle(split, settings, changes | {"dim": dim})
    table = Embeddings(
        jnp.asarray(_ordered(given.user, user_ids, split.user_ids, _Side("user", split.name, missing))),
        jnp.asarray(_ordered(given.item, item_ids, split.item_ids, _Side("item", split.name, missing))),
    )
    # How much is pruned is not asked yet: tables too small for it can be measured too.
    problem = prepare(split, dataclasses.replace(settings, levels=0, sparsities=None), Given(backbone=backbone))
    measured = measure(problem, problem.program, table, 0, None)._replace(verdict=verdict.DENSE)
    return Ticket(
        level=0,
        masks=masking.all_kept(table),
        start=table,
        trained=table,
        **measured._asdict(),
        best_epoch=0,
        epochs=0,
        seconds=0.0,
        cost=Cost(Effort(), Effort(), 0),
        parent=None,
        settings=settings,
        given=problem.given | {"dense": fingerprint.of_table(table)},
        fingerprint=split.fingerprint,
    )


def from_model(
    model: Any,
    split: Any,
    dataset: Any = None,
    *,
    user_features: Any = None,
    item_features: Any = None,
    **options: Any,
) -> Ticket:
    """The same of a fitted model of implicit, LightFM or RecBole, which are not imported.

        model.fit(split.matrix())                     # implicit, LightFM: rows and columns are the split's
        dense = lthjax.from_model(model, split)
        dense = lthjax.from_model(model, split, dataset)  # RecBole, whose dataset knows the ids

    It ranks as the model does. Item biases of LightFM become a column, users' change no ranking and are left out; in
    implicit's factors biases are columns already. RecBole's LightGCN is propagated over the split's training part: that
    must be what it was trained on.

    Args:
      model: fitted; of RecBole BPR or LightGCN.
      split: as in `from_dense`.
      dataset: of RecBole.
      user_features: [M, ...] of LightFM, where it was trained with some.
      item_features: likewise.
      **options: as of `from_dense`, above all `user_ids` and `item_ids` where the model was fitted on another matrix.

    Raises:
      SettingsError: a model that is none of these, or is not fitted, or options that contradict it.
      DataError: as `from_dense`.
    """
    user, item, told = factors.of(model, dataset, user_features, item_features)
    for name in told.keys() & options.keys():
        raise SettingsError(f"{name}: wanted none, since the model tells it; got {options[name]!r:.60}.")
    return from_dense(user, item, split, **told, **options)


def check_search(problem: Problem) -> None:
    """Refuse what cannot be asked of a table that was trained elsewhere.

    Raises:
      SettingsError: tickets that rewind to first values, or scores that compare with these.
    """
    settings = problem.settings
    if settings.rewind not in ("lr", "none", "reinit"):
        raise SettingsError(
            f"--rewind: wanted lr, none or reinit with a table that was trained elsewhere, whose first values are not "
            f"known; got {settings.rewind}."
        )
    trains_first = settings.search_name in CHEAP_SEARCHES and "search" not in problem.given
    if settings.prune_by == "movement" and "score" not in problem.given and not trains_first:
        raise SettingsError(
            "--prune-by: wanted another than movement with a table that was trained elsewhere, whose first values are "
            f"not known, unless a search trains it first ({', '.join(CHEAP_SEARCHES)}); got movement."
        )


def with_biases(user: np.ndarray, item: np.ndarray, user_bias: Any = None, item_bias: Any = None) -> Embeddings:
    """Tables whose products are u v + b_u + b_v; a bias that is not given takes no column.

    Args:
      user: [R, F].
      item: [R, F].
      user_bias: [R] or None.
      item_bias: likewise.
    """
    if user_bias is not None:
        user, item = np.column_stack([user, user_bias]), np.column_stack([item, np.ones(len(item))])
    if item_bias is not None:
        user, item = np.column_stack([user, np.ones(len(user))]), np.column_stack([item, item_bias])
    return Embeddings(user, item)


class _Side(NamedTuple):
    """Whose rows are put in order, for errors and warnings."""

    name: str  # "user" or "item"
    of: str  # name of the data
    missing: Missing


def _numbers(values: Any, what: str, num_axes: int, length: int | None = None) -> np.ndarray:
    """Finite float32 numbers of so many axes; the first as long as is said.

    Raises:
      DataError: they are not.
    """
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:  # rows of different lengths, tensors of another device
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{what}: wanted an array of numbers; got {type(values).__name__} ({reason:.100}).") from error
    if array.dtype.kind not in "fiu":
        raise DataError(f"{what}: wanted an array of numbers; got {type(values).__name__} of {array.dtype}.")
    wanted = ("a vector [R]", "a table [R, F]")[num_axes - 1]
    if array.ndim != num_axes or 0 in array.shape or length not in (None, len(array)):
        rows = "" if length is None else f" with R = {length:,}"
        raise DataError(f"{what}: wanted {wanted}{rows}; got shape {array.shape}.")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if num_bad := np.count_nonzero(~np.isfinite(array)):
        raise DataError(f"{what}: wanted finite float32 numbers; got {num_bad:,} that are not.")
    return array


def _ordered(table: np.ndarray, ids: Iterable[Any] | None, known: np.ndarray, side: _Side) -> np.ndarray:
    """[M, F] the rows of the known ids, in their order.

    Args:
      table: [R, F].
      ids: [R] of its rows; None where they are the known ones.
      known: [M] ids of the split.
      side: whose.

    Raises:
      DataError: other lengths, ids that come twice or are missing.
    """
    name, of, missing = side
    if ids is None:
        if len(table) != len(known):
            raise DataError(
                f"{name}: wanted a row for each of the {len(known):,} {name}s of {of}, in its order, or {name}_ids; "
                f"got {len(table):,} rows."
            )
        return table
    places = _places(ids, known, name)
    if len(places) != len(table):
        raise DataError(f"{name}_ids: wanted one for each of {len(table):,} rows; got {len(places):,}.")
    is_known = places >= 0
    lacking = np.ones(len(known), bool)
    lacking[places[is_known]] = False
    if lacking.all():
        raise DataError(f"{name}_ids: wanted {name}s of {of}, such as {_some(known)}; got none of them.")
    if lacking.any() and missing == "refuse":
        raise DataError(
            f"{name}_ids: wanted all {len(known):,} {name}s of {of}; got none of {np.count_nonzero(lacking):,}: "
            f'{_some(known[lacking])}. missing="zeros" gives them rows of zeros.'
        )
    notes = []
    if lacking.any():
        notes.append(f"{np.count_nonzero(lacking):,} of the {len(known):,} {name}s of {of} have rows of zeros")
    if not is_known.all():
        notes.append(f"{np.count_nonzero(~is_known):,} rows of {name}s that {of} does not have are left out")
    if notes:
        warnings.warn("; ".join(notes) + ".", stacklevel=3)
    ordered = np.zeros((len(known), table.shape[1]), np.float32)
    ordered[places[is_known]] = table[is_known]
    return ordered


def _places(ids: Iterable[Any], known: np.ndarray, name: str) -> np.ndarray:
    """[R] where each id stands among the known ones, -1 where it does not.

    Raises:
      DataError: ids that are neither whole numbers nor text, or come twice.
    """
    import pandas as pd

    given = ids if isinstance(ids, np.ndarray) else list(ids)
    words = [value.item() if isinstance(value, np.generic) else value for value in given]
    for word in words:
        if isinstance(word, bool) or not isinstance(word, int | str):
            raise DataError(f"{name}_ids: wanted whole numbers or text, one for each row; got {word!r:.60}.")
    index = pd.Index([naming.canonical(str(word)) for word in words], dtype=object)
    if not index.is_unique:
        raise DataError(f"{name}_ids: wanted each once; got {_some(index[index.duplicated()].unique())} again.")
    row_of = pd.Series(np.arange(len(known)), index=pd.Index([str(one) for one in known.tolist()], dtype=object))
    return row_of.reindex(index, fill_value=-1).to_numpy()


def _some(ids: Any) -> str:
    """The first few, and how many more there are."""
    named = ", ".join(str(one) for one in ids[:_NUM_NAMED])
    return named + (f" and {len(ids) - _NUM_NAMED:,} more" if len(ids) > _NUM_NAMED else "")
