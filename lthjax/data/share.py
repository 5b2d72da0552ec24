"""What one of several processes needs of a split that lies ready in files: read in pieces, and never held whole.

Only a part that is read as it is can be: text ids are numbered, and other splits drawn, among all.

Letters: M users, N items, E training interactions, E' those that are held, n pairs of a piece.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from lthjax.data import interactions, rules, streams
from lthjax.data import split as splitting
from lthjax.data.catalog import TEST, TRAIN, VALID, Source
from lthjax.data.columns import Options
from lthjax.data.split import Degrees, Digest
from lthjax.data.streams import Stream, Unsuited
from lthjax.errors import DataError

# Degrees -> [M] and [N] bool: an interaction is held where its user or its item is marked.
Needed = Callable[[Degrees], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Share:
    """A split of which the training interactions are not all held; what is said of them holds for all."""

    name: str
    user_ids: np.ndarray  # [M] original ids, int64
    item_ids: np.ndarray  # [N]
    notes: tuple[str, ...]
    held_train: np.ndarray  # [E', 2] int32, user and item, sorted by user then item
    num_train: int  # E
    degrees: Degrees  # of all
    valid: np.ndarray  # [E_valid, 2], all
    test: np.ndarray  # [E_test, 2], all
    fingerprint: str  # as `Split` has it
    train_values: ClassVar[None] = None
    dislikes: ClassVar[None] = None

    @property
    def num_users(self) -> int:
        """M."""
        return len(self.user_ids)

    @property
    def num_items(self) -> int:
        """N."""
        return len(self.item_ids)


class _Tally(NamedTuple):
    """How often ids occur."""

    ids: np.ndarray  # int64, ascending
    counts: np.ndarray  # int64


class _Counted(NamedTuple):
    """What is known of a part before its ids are numbered."""

    num_rows: int
    users: _Tally  # of its different pairs
    items: _Tally
    empty_users: np.ndarray


class _Ids(NamedTuple):
    """What users and items are numbered by."""

    user: np.ndarray  # [M] int64, ascending
    item: np.ndarray  # [N]

    def keys(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """[.] int64, the different pairs of some users and items, ascending; a pair is user N + item."""
        numbers = np.searchsorted(self.user, users) * np.int64(len(self.item)) + np.searchsorted(self.item, items)
        numbers.sort()
        return numbers[np.diff(numbers, prepend=-1) > 0]

    def pairs(self, keys: np.ndarray) -> np.ndarray:
        """[., 2] int32."""
        return np.stack(np.divmod(keys, len(self.item)), axis=1, dtype=np.int32)


class _HeldOut(NamedTuple):
    """Validation or test part."""

    keys: np.ndarray  # int64, ascending
    is_taken: np.ndarray  # bool, whether an earlier part has the pair


def read(source: Source, options: Options, needed: Needed) -> Share:
    """The share of some files.

    Args:
      source: with a file for train and one for test.
      options: how they are read.
      needed: what is held.

    Raises:
      Unsuited: they are to be read whole.
      DataError: likewise; then what is wrong is told.
    """
    of_parts = {part: streams.of(file, options) for part, file in zip(source.parts, source.files, strict=True)}
    counted = {part: _counted(stream) for part, stream in of_parts.items()}
    ids = _Ids(*(_union([getattr(part, side).ids for part in counted.values()]) for side in ("users", "items")))
    sides = zip(ids, (counted[TRAIN].users, counted[TRAIN].items), strict=True)
    degrees = Degrees(*(_counts_of(known, tally) for known, tally in sides))
    valid, test = (_held_out(of_parts.get(part), ids) for part in (VALID, TEST))
    digest = Digest()
    held = _held(of_parts[TRAIN], ids, degrees, needed(degrees), digest, (valid, test))
    test.is_taken[_are_among(test.keys, valid.keys)] = True
    if test.keys.size and test.is_taken.all():
        raise Unsuited("the other parts hold all of test")
    pairs = [ids.pairs(part.keys[~part.is_taken]) for part in (valid, test)]
    for part in pairs:
        digest.part(part)
    sizes = int(degrees.user.sum()), *map(len, pairs)
    num_taken = np.count_nonzero(valid.is_taken) + np.count_nonzero(test.is_taken)
    of_files = zip(source.files, of_parts.values(), strict=True)
    notes = [f"{os.path.basename(file)}: {note}" for file, stream in of_files for note in stream.notes]
    notes += _notes([*counted.values()], ids, sizes, num_taken) + splitting.cold_notes(degrees)
    return Share(
        name=source.name,
        user_ids=ids.user,
        item_ids=ids.item,
        notes=(*source.notes, *notes),
        held_train=held,
        num_train=sizes[0],
        degrees=degrees,
        valid=pairs[0],
        test=pairs[1],
        fingerprint=digest.of_ids(*ids),
    )


def _held(
    stream: Stream,
    ids: _Ids,
    degrees: Degrees,
    marked: tuple[np.ndarray, np.ndarray],
    digest: Digest,
    others: Sequence[_HeldOut],
) -> np.ndarray:
    """[E', 2] int32, the training interactions of marked users and items; all of them go through here.

    A pair stays in its earliest part, as `interactions.assemble` has it, but where train holds all of test.

    Args:
      stream: of train.
      ids: that it is numbered by.
      degrees: of all of it.
      marked: [M] and [N] bool.
      digest: that all are added to.
      others: held-out parts, in which it is marked what train has too.

    Raises:
      Unsuited: there are none.
      DataError: the file is another one now.
    """
    wanted, came, num_held = int(degrees.user.sum()), 0, 0
    if not wanted:
        raise Unsuited("there are no training interactions")
    most = sum(int(degree[is_marked].sum()) for degree, is_marked in zip(degrees, marked, strict=True))
    held = np.empty((min(most, wanted), 2), np.int32)  # what is not filled of it takes no memory
    digest.begin(wanted)
    for piece in stream.pieces():
        keys = ids.keys(piece.users, piece.items)
        pairs = ids.pairs(keys)
        digest.add(pairs)
        came += len(pairs)
        pairs = pairs[marked[0][pairs[:, 0]] | marked[1][pairs[:, 1]]]
        held[num_held : num_held + len(pairs)] = pairs
        num_held += len(pairs)
        for part in others:
            part.is_taken[_are_among(part.keys, keys)] = True
    if came != wanted:
        raise DataError(f"wanted {wanted:,} training interactions, as when the file was first read; got {came:,}.")
    return held[:num_held]


def _notes(counted: list[_Counted], ids: _Ids, sizes: tuple[int, int, int], num_taken: int) -> list[str]:
    """What `interactions.load` and `split.split` say of parts that are taken as they are.

    Args:
      counted: of each file.
      ids: of all.
      sizes: pairs in train, valid and test.
      num_taken: pairs that another part has, of those that were held out.
    """
    empty = np.setdiff1d(np.concatenate([part.empty_users for part in counted]), ids.user).size
    return [
        *interactions.empty_note(empty),
        *interactions.duplicates_note(sum(part.num_rows for part in counted) - sum(sizes), num_taken),
        interactions.count_note(sum(sizes), *map(len, ids)),
        rules.files_note(sizes[1] > 0),
        splitting.sizes_note(*sizes),
    ]


def _counted(stream: Stream) -> _Counted:
    num_rows, users, empty_users = 0, [_Tally(*np.zeros((2, 0), np.int64))], []
    items = users[0]
    for piece in stream.pieces():
        order = np.lexsort((piece.items, piece.users))
        of_user, of_item = piece.users[order], piece.items[order]
        is_new = np.append(True, (of_user[1:] != of_user[:-1]) | (of_item[1:] != of_item[:-1]))[: order.size]
        users.append(_Tally(*np.unique(of_user[is_new], return_counts=True)))
        items = _added(items, _Tally(*np.unique(of_item[is_new], return_counts=True)))
        num_rows += order.size
        empty_users.append(piece.empty_users)
    of_all = _Tally(*(np.concatenate(parts) for parts in zip(*users, strict=True)))  # no user is in two pieces
    return _Counted(num_rows, of_all, items, np.concatenate(empty_users))


def _added(one: _Tally, other: _Tally) -> _Tally:
    ids = _union([one.ids, other.ids])
    return _Tally(ids, _counts_of(ids, one) + _counts_of(ids, other))


def _counts_of(ids: np.ndarray, tally: _Tally) -> np.ndarray:
    counts = np.zeros(ids.size, np.int64)
    counts[np.searchsorted(ids, tally.ids)] = tally.counts
    return counts


def _union(ids: list[np.ndarray]) -> np.ndarray:
    return np.unique(np.concatenate(ids))


def _held_out(stream: Stream | None, ids: _Ids) -> _HeldOut:
    pieces = () if stream is None else stream.pieces()
    keys = np.concatenate([np.zeros(0, np.int64), *(ids.keys(piece.users, piece.items) for piece in pieces)])
    return _HeldOut(keys, np.zeros(keys.size, bool))


def _are_among(keys: np.ndarray, others: np.ndarray) -> np.ndarray:
    """[.] bool, of ascending keys, whether they are among others that ascend."""
    if not others.size:
        return np.zeros(keys.size, bool)
    return others[np.minimum(np.searchsorted(others, keys), others.size - 1)] == keys
