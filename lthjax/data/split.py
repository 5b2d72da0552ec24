"""Interactions -> train, valid, test.

Letters: E interactions (of a part), M users, N items.
"""

import functools
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lthjax.data import rules
from lthjax.data import times as timing
from lthjax.data.catalog import PARTS, TEST, TRAIN
from lthjax.data.interactions import Interactions
from lthjax.data.rules import BY_TIME
from lthjax.errors import DataError, nearest

if TYPE_CHECKING:
    from scipy import sparse

RATIOS = (0.7, 0.1, 0.2)


class Degrees(NamedTuple):
    """How many training interactions there are of each user and of each item."""

    user: np.ndarray  # [M] int64
    item: np.ndarray  # [N] int64


def degrees_of(pairs: np.ndarray, num_users: int, num_items: int) -> Degrees:
    """The degrees of [E, 2] training pairs.

    Args:
      pairs: of users and items.
      num_users: M.
      num_items: N.
    """
    return Degrees(np.bincount(pairs[:, 0], minlength=num_users), np.bincount(pairs[:, 1], minlength=num_items))


class Digest:
    """What a fingerprint is made of, in its order: train, valid and test, whole or in pieces, then all else."""

    def __init__(self):
        self._digest = hashlib.sha256()

    def part(self, pairs: np.ndarray) -> None:
        """A part, [E, 2], whole."""
        self.begin(len(pairs))
        self.add(pairs)

    def begin(self, num_pairs: int) -> None:
        """A part of so many pairs, which come in pieces."""
        self._digest.update(f"{(num_pairs, 2)}".encode())

    def add(self, pairs: np.ndarray) -> None:
        """The next pairs of the part."""
        self._digest.update(np.ascontiguousarray(pairs, "<i4").tobytes())

    def of_ids(self, user_ids: np.ndarray, item_ids: np.ndarray, train_values=None, dislikes=None) -> str:
        """The fingerprint, with all that is beside the parts.

        Args:
          user_ids: [M].
          item_ids: [N].
          train_values: [E_train], where there are any.
          dislikes: [D, 2], likewise.
        """
        for ids in (user_ids, item_ids):
            is_text = ids.dtype.kind == "U"
            self._digest.update(f"{ids.dtype.kind}{ids.shape}".encode())
            text = "\n".join(ids.tolist()).encode() if is_text else np.ascontiguousarray(ids, "<i8").tobytes()
            self._digest.update(text)
        for name, values, kind in (("train_values", train_values, "<f4"), ("dislikes", dislikes, "<i4")):
            if values is not None:  # without them, what it was before there were any
                self._digest.update(f"{name}{values.shape}".encode() + np.ascontiguousarray(values, kind).tobytes())
        return self._digest.hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Split:
    """Three disjoint parts of the interactions; users and items are numbered as in Interactions.

    Raises:
      DataError: ids that are neither int64 nor str, or not ascending.
    """

    name: str
    user_ids: np.ndarray  # [M] original ids, int64 or str
    item_ids: np.ndarray  # [N]
    notes: tuple[str, ...]
    train: np.ndarray  # [E_train, 2] int32, user and item, sorted by user then item
    valid: np.ndarray  # [E_valid, 2]
    test: np.ndarray  # [E_test, 2]
    train_values: np.ndarray | None = None  # [E_train] float32, of each row of train: a rating, count or watch ratio
    dislikes: np.ndarray | None = None  # [D, 2] int32, sorted: known to be unwanted, in no part; train knows both sides

    def __post_init__(self):
        for what, ids in (("user_ids", self.user_ids), ("item_ids", self.item_ids)):
            if ids.dtype.kind not in "iU":
                raise DataError(f"{self.name}: wanted {what} of int64 or str; got {ids.dtype}.")
            if not (ids[:-1] < ids[1:]).all():
                raise DataError(f"{self.name}: wanted {what} ascending, each once; got another order.")

    @property
    def num_users(self) -> int:
        """M."""
        return len(self.user_ids)

    @property
    def num_items(self) -> int:
        """N."""
        return len(self.item_ids)

    @property
    def num_train(self) -> int:
        """E, training interactions."""
        return len(self.train)

    @functools.cached_property
    def degrees(self) -> Degrees:
        """Training interactions of each user and of each item."""
        return degrees_of(self.train, self.num_users, self.num_items)

    @property
    def held_train(self) -> np.ndarray:
        """[E_train, 2], what this process holds of train: all."""
        return self.train

    def matrix(self, part: str = "train") -> "sparse.csr_matrix":
        """[M, N] float32, 1 where a part has an interaction: what implicit and LightFM are fitted on.

        Raises:
          DataError: there is no such part.
        """
        if part not in ("train", "valid", "test"):
            raise DataError(f"wanted train, valid or test; got {part!r}{nearest(part, ('train', 'valid', 'test'))}.")
        from scipy import sparse  # here: reading does without

        user, item = getattr(self, part).T
        # A matrix, no array: implicit asks for one.
        return sparse.csr_matrix((np.ones(len(user), np.float32), (user, item)), (self.num_users, self.num_items))

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with any pair, its part or value, any dislike, or any original id."""
        digest = Digest()
        for part in (self.train, self.valid, self.test):
            digest.part(part)
        return digest.of_ids(self.user_ids, self.item_ids, self.train_values, self.dislikes)


def split(interactions: Interactions, *, method="auto", ratios=RATIOS, seed=0, times=None) -> Split:
    """Split interactions into train, valid and test.

    Args:
      interactions: from `data.load`, with times where the method goes by them.
      method: auto: files where the source has all three parts, else random.
        random: per user at random, whatever parts the source has.
        user-time: per user, the last ones to test, those before to valid.
        time: at two moments for all; users who begin behind the first are left out.
        leave-one-out: of each user the last one to test, the one before to valid; one always stays in train.
        leave-one-out-random: likewise any two.
        files: the source's own parts.
        cut: the source's test part; valid is cut per user at random from the rest.
      ratios: shares of train, valid and test (scaled to sum 1). Per user, floor(share n + 1/2) of n interactions go to
        test and to valid, but one at least stays in train. cut takes ratios[1] / (ratios[0] + ratios[1]) for valid.
        time: the moments are those of the first interaction behind each share of all.
      seed: of the random draws, and of the order of equal times within a user; the same seed gives the same split,
        whatever the order of the source's rows.
      times: the two moments of method time, "2015-01-01,2016-01-01": valid begins with the first, test with the second.

    Raises:
      DataError: unknown method, ratios that are not positive, missing parts or times, no training interactions.
    """
    plan = rules.plan(method, ratios, seed, times)
    parts, pooled = interactions.parts, ()
    if method == "auto":
        has_all = parts is not None and np.isin(PARTS, parts).all()
        if has_all and plan.shares != rules.plan(method, RATIOS, seed, None).shares:
            came = f"auto, which takes the three parts of the source as they are ({interactions.name})"
            raise DataError(f"--ratios: wanted --split random or another one that draws, got {came}.")
        if not has_all and parts is not None and TEST in parts:
            pooled = ("the source's own parts are pooled; --split cut keeps its test part",)
        plan = plan._replace(method="files" if has_all else "random")
    if plan.method in BY_TIME:
        _require_times(interactions, plan.method)
    interactions, part, note = rules.RULES[plan.method](interactions, plan)
    train, valid, test = (interactions.pairs[part == code] for code in PARTS)
    sizes = interactions.num_users, interactions.num_items
    few, cold = _few(interactions, plan.method), cold_notes(degrees_of(train, *sizes))
    notes = (*interactions.notes, *pooled, note, sizes_note(len(train), len(valid), len(test)), *few, *cold)
    values = None if interactions.values is None else interactions.values[part == TRAIN]
    dislikes = interactions.dislikes
    if dislikes is not None:
        dislikes = dislikes[np.isin(dislikes[:, 0], train[:, 0]) & np.isin(dislikes[:, 1], train[:, 1])]
    numbered = interactions.user_ids, interactions.item_ids
    return Split(interactions.name, *numbered, notes, train, valid, test, values, dislikes)


def _require_times(interactions: Interactions, method: str) -> None:
    times, name = interactions.times, interactions.name
    if times is None:
        raise DataError(f"--split {method}: wanted interactions with times, got none of them ({name}).")
    if (times == times[0]).all():
        came = f"{timing.shown(times[0])} for all {len(times):,} interactions"
        raise DataError(f"--split {method}: wanted times that differ, got {came} ({name}).")


def _few(interactions: Interactions, method: str) -> list[str]:
    """Notes on users with too few interactions for a test or valid part of their own."""
    if method in ("files", "cut", "time"):
        return []
    counts = np.bincount(interactions.pairs[:, 0], minlength=interactions.num_users)
    single, double = (np.count_nonzero(counts == number) for number in (1, 2))
    notes = [f"{single:,} users with one interaction: it stays in train"] if single else []
    if double and method.startswith("leave-one-out"):
        notes.append(f"{double:,} users with two interactions: one in train, one in test, none in valid")
    return notes


def sizes_note(num_train: int, num_valid: int, num_test: int) -> str:
    """What is said of the sizes of the parts."""
    return f"{num_train:,} train, {num_valid:,} valid, {num_test:,} test"


def cold_notes(degrees: Degrees) -> list[str]:
    """Notes on users and items that training does not see."""
    unseen = (("users", np.count_nonzero(degrees.user == 0)), ("items", np.count_nonzero(degrees.item == 0)))
    return [
        f"{number:,} {what} without training interactions, seen only in valid or test"
        for what, number in unseen
        if number
    ]
