"""What one of several processes needs of a split that lies ready in files: read in pieces, and never held whole.

Only a part that is read as it is can be: text ids are numbered, and other splits drawn, among all.

Letters: M users, N items, E training interactions, E' those that are held, n pairs of a piece.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from lthjax.data import interactions, rules, streams
from lthjax.data import split as splitting
from lthjax.data.catalog import TEST, TRAIN, VALID, Source
from lthjax.data.columns import Options
from lthjax.data.split import Degrees, Digest
from lthjax.data.streams import Stream, Unsuited

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
    if not (num_train := int(degrees.user.sum())):
        raise Unsuited("there are no training interactions")
    nothing = np.zeros(0, np.int64)
    valid, test = (_all_keys(of_parts[part], ids) if part in of_parts else nothing for part in (VALID, TEST))
    digest, held, in_train = Digest(), [], [np.zeros(keys.size, bool) for keys in (valid, test)]
    of_user, of_item = needed(degrees)
    digest.begin(num_train)
    for piece in of_parts[TRAIN].pieces():
        keys = ids.keys(piece.users, piece.items)
        pairs = ids.pairs(keys)
        digest.add(pairs)
        held.append(pairs[of_user[pairs[:, 0]] | of_item[pairs[:, 1]]])
        for others, is_there in zip((valid, test), in_train, strict=True):
            is_there |= _are_among(others, keys)
    # A pair stays in its earliest part, as `interactions.assemble` has it, but where train holds all of test.
    in_train[1] |= np.isin(test, valid)
    if test.size and in_train[1].all():
        raise Unsuited("the other parts hold all of test")
    across = sum(map(np.count_nonzero, in_train))
    valid, test = (ids.pairs(keys[~is_there]) for keys, is_there in zip((valid, test), in_train, strict=True))
    digest.part(valid)
    digest.part(test)
    num_pairs = num_train + len(valid) + len(test)
    num_rows = sum(part.num_rows for part in counted.values())
    empty = np.setdiff1d(np.concatenate([part.empty_users for part in counted.values()]), ids.user).size
    of_files = zip(source.files, of_parts.values(), strict=True)
    notes = [
        *source.notes,
        *(f"{os.path.basename(file)}: {note}" for file, stream in of_files for note in stream.notes),
        *interactions.empty_note(empty),
        *interactions.duplicates_note(num_rows - num_pairs, across),
        interactions.count_note(num_pairs, *map(len, ids)),
        rules.files_note(len(valid) > 0),
        splitting.sizes_note(num_train, len(valid), len(test)),
        *splitting.cold_notes(degrees),
    ]
    return Share(
        name=source.name,
        user_ids=ids.user,
        item_ids=ids.item,
        notes=tuple(notes),
        held_train=np.concatenate(held),
        num_train=num_train,
        degrees=degrees,
        valid=valid,
        test=test,
        fingerprint=digest.of_ids(*ids),
    )


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


def _all_keys(stream: Stream, ids: _Ids) -> np.ndarray:
    """[.] int64 of the pairs of a held-out part, ascending."""
    return np.concatenate([ids.keys(piece.users, piece.items) for piece in stream.pieces()])


def _are_among(keys: np.ndarray, others: np.ndarray) -> np.ndarray:
    """[.] bool, of ascending keys, whether they are among others that ascend."""
    if not others.size:
        return np.zeros(keys.size, bool)
    return others[np.minimum(np.searchsorted(others, keys), others.size - 1)] == keys
