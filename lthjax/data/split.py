"""Interactions -> train, valid, test.

Letters: E interactions (of a part), M users, N items.
"""

import dataclasses
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lthjax.data import times as timing
from lthjax.data.catalog import PARTS, TEST, TRAIN, VALID
from lthjax.data.interactions import Interactions
from lthjax.errors import DataError, nearest

METHODS = ("auto", "random", "user-time", "time", "leave-one-out", "leave-one-out-random", "files", "cut")
BY_TIME = ("user-time", "time", "leave-one-out")
RATIOS = (0.7, 0.1, 0.2)


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
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with any pair, its part or value, any dislike, or any original id."""
        digest = hashlib.sha256()
        for part in (self.train, self.valid, self.test):
            digest.update(f"{part.shape}".encode())
            digest.update(np.ascontiguousarray(part, "<i4").tobytes())
        for ids in (self.user_ids, self.item_ids):
            is_text = ids.dtype.kind == "U"
            digest.update(f"{ids.dtype.kind}{ids.shape}".encode())
            digest.update("\n".join(ids.tolist()).encode() if is_text else np.ascontiguousarray(ids, "<i8").tobytes())
        for name, kind in (("train_values", "<f4"), ("dislikes", "<i4")):
            if (values := getattr(self, name)) is not None:  # without them, what it was before there were any
                digest.update(f"{name}{values.shape}".encode() + np.ascontiguousarray(values, kind).tobytes())
        return digest.hexdigest()[:16]


def split(interactions: Interactions, *, method="auto", ratios=RATIOS, seed=0, times=None) -> Split:
    """Split interactions into train, valid and test.

    Args:
      interactions: from `data.load`, with times where the method goes by them.
      method: auto: files where the source has all three parts, else random, so that nobody's test part is pooled
        unseen. random: per user at random, whatever parts the source has. user-time: per user, the last ones to test,
        those before to valid. time: for all users at two moments. leave-one-out: the last one of each user to test, the
        one before to valid. leave-one-out-random: any two. files: the source's own parts.
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
    shares = check(method, ratios, seed, times)
    pairs, parts = interactions.pairs, interactions.parts
    pooled = []
    if method == "auto":
        method = "files" if parts is not None and np.isin(PARTS, parts).all() else "random"
        if method == "random" and parts is not None and (parts == TEST).any():
            pooled = ["the source's own parts are pooled; --split cut keeps its test part"]
        if method == "files" and shares != check(method, RATIOS, seed, None):
            raise DataError(
                f"--ratios: wanted --split random or another one that draws, since auto takes the three parts of the "
                f"source as they are; got {ratios!r} ({interactions.name})."
            )
    if method in ("files", "cut"):
        if parts is None:
            raise DataError(
                f"method {method!r} wants train and test parts, got data without parts ({interactions.name})."
            )
        if not (parts == TEST).any():
            raise DataError(f"method {method!r} wants a test part, got none ({interactions.name}).")
        _require_train(pairs[parts == TRAIN] if method == "files" else pairs[parts != TEST], parts, interactions.name)
    if method in BY_TIME and interactions.times is None:
        raise DataError(f"--split {method}: wanted interactions with times, got none of them ({interactions.name}).")
    if method == "files":
        part, note = parts, "split as in the source's files"
        if not (parts == VALID).any():
            note += " (no valid part)"
    elif method == "cut":
        rest, share = parts != TEST, shares[1] / (shares[0] + shares[1])
        part = np.full(len(pairs), TEST, np.int8)
        part[rest] = _draw(pairs[rest, 0], interactions.num_users, _by_share(share, 0.0), seed)
        note = f"test as in the source's files, valid cut per user at random ({share:g} of the rest), seed {seed}"
    elif method == "time":
        interactions, part, note = _at_moments(interactions, shares, times)
    else:
        goes_by = interactions.times if method in BY_TIME else None
        sizes = _leave_one_out if method.startswith("leave-one-out") else _by_share(*shares[1:])
        part = _draw(pairs[:, 0], interactions.num_users, sizes, seed, goes_by)
        how = "at random" if goes_by is None else "by time, the last ones in test"
        named = ":".join(f"{share:g}" for share in shares)
        what = "one test and one valid interaction a user" if sizes is _leave_one_out else f"train:valid:test {named}"
        note = f"split per user {how}, {what}, seed {seed}" + " (of equal times)" * (goes_by is not None)
    train, valid, test = (interactions.pairs[part == code] for code in (TRAIN, VALID, TEST))
    sizes = f"{len(train):,} train, {len(valid):,} valid, {len(test):,} test"
    notes = (*interactions.notes, *pooled, note, sizes, *_few(interactions, method), *_cold(interactions, train))
    values = None if interactions.values is None else interactions.values[part == TRAIN]
    dislikes = None if interactions.dislikes is None else _of_known(interactions.dislikes, train)
    ids = interactions.user_ids, interactions.item_ids
    return Split(interactions.name, *ids, notes, train, valid, test, values, dislikes)


def _at_moments(interactions: Interactions, shares: tuple[float, ...], times: str | None):
    """Interactions without users that train does not know, their part codes by time, and a note.

    Args:
      interactions: with times.
      shares: of train, valid and test; where they end is moved to the first interaction of that moment.
      times: the moments, or None for the shares.
    """
    when, name = interactions.times, interactions.name
    if times is not None:
        moments = timing.cuts(times)
        if moments.dtype != when.dtype:
            came = "numbers without a unit" if when.dtype.kind == "i" else "times with dates"
            raise DataError(f"--split-times: wanted what the source has, {came}; got {times!r} ({name}).")
    else:
        ends = [math.floor(share * when.size + 0.5 + 1e-9) for share in (shares[0], shares[0] + shares[1])]
        moments = np.sort(when)[np.minimum(ends, when.size - 1)]
    part = (when >= moments[0]).astype(np.int8) + (when >= moments[1])
    counts = np.bincount(part, minlength=len(PARTS))
    shown = " and ".join(map(timing.shown, moments))
    if not counts.all():
        sizes = ", ".join(f"{count:,} {what}" for count, what in zip(counts, ("train", "valid", "test"), strict=True))
        first, last = timing.shown(when.min()), timing.shown(when.max())
        asked = "--split-times" if times is not None else "--split time with these --ratios"
        raise DataError(
            f"{asked}: wanted interactions in all three parts, got {sizes}, cut at {shown} between {first} and {last}: "
            f"say other --split-times ({name})."
        )
    trained = np.bincount(interactions.pairs[part == TRAIN, 0], minlength=interactions.num_users) > 0
    kept = trained[interactions.pairs[:, 0]]
    note = f"split by time, valid from {timing.shown(moments[0])}, test from {timing.shown(moments[1])} on"
    if not kept.all():
        late = f"{np.count_nonzero(~kept):,} interactions of {np.count_nonzero(~trained):,} users"
        note += f"; {late} who begin later are left out, since nothing is trained for them"
    for code, what in ((VALID, "valid"), (TEST, "test")):
        if not (kept & (part == code)).any():
            came = f"all {counts[code]:,} are of users who come later than train"
            raise DataError(f"--split time: wanted {what} interactions, got none: {came}, cut at {shown} ({name}).")
    return _of_users(interactions, trained, kept), part[kept], note


def _of_users(interactions: Interactions, known: np.ndarray, kept: np.ndarray) -> Interactions:
    """Interactions of some users, numbered anew; items stay only where they have interactions.

    Args:
      interactions: of all.
      known: [M] bool.
      kept: [E] bool, interactions of known users.
    """
    pairs = interactions.pairs[kept]
    has_item = np.bincount(pairs[:, 1], minlength=interactions.num_items) > 0
    numbers = [np.cumsum(mask) - 1 for mask in (known, has_item)]

    def renumbered(rows: np.ndarray) -> np.ndarray:
        return np.stack([number[rows[:, side]] for side, number in enumerate(numbers)], axis=1).astype(np.int32)

    dislikes, values = interactions.dislikes, interactions.values
    if dislikes is not None:
        dislikes = renumbered(dislikes[known[dislikes[:, 0]] & has_item[dislikes[:, 1]]])
    return dataclasses.replace(
        interactions,
        pairs=renumbered(pairs),
        user_ids=interactions.user_ids[known],
        item_ids=interactions.item_ids[has_item],
        parts=None,
        times=interactions.times[kept],
        values=None if values is None else values[kept],
        dislikes=dislikes,
    )


def _of_known(pairs: np.ndarray, train: np.ndarray) -> np.ndarray:
    """The pairs whose user and item have training interactions."""
    return pairs[np.isin(pairs[:, 0], train[:, 0]) & np.isin(pairs[:, 1], train[:, 1])]


def _by_share(valid: float, test: float) -> Callable:
    """Numbers of valid and test interactions for [M] numbers of interactions; one at least stays in train."""

    def sizes(count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        num_test = np.minimum(_rounded(test, count), np.maximum(count - 1, 0))
        return np.minimum(_rounded(valid, count), np.maximum(count - 1 - num_test, 0)), num_test

    return sizes


def _leave_one_out(count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One test interaction where there are two, one valid where there are three."""
    return (count >= 3).astype(np.int64), (count >= 2).astype(np.int64)


def _draw(users: np.ndarray, num_users: int, sizes: Callable, seed: int, times=None) -> np.ndarray:
    """[E] int8 part codes: of each user the first ones in a random order are test, the next ones valid.

    Args:
      users: [E], ascending.
      num_users: M.
      sizes: [M] numbers of interactions -> [M] numbers of valid and of test ones.
      seed: of the order.
      times: [E]; the latest come first, and only equal ones in random order.
    """
    count = np.bincount(users, minlength=num_users)
    num_valid, num_test = sizes(count)
    keys = (np.random.default_rng(seed).random(users.size),)
    keys += () if times is None else (-times.view(np.int64),)
    order = np.lexsort((*keys, users))
    rank = np.arange(users.size) - np.repeat(np.cumsum(count) - count, count)
    part = np.empty(users.size, np.int8)
    part[order] = np.where(rank < num_test[users], TEST, np.where(rank < (num_test + num_valid)[users], VALID, TRAIN))
    return part


def _rounded(share: float, count: np.ndarray) -> np.ndarray:
    return np.floor(share * count + 0.5 + 1e-9).astype(np.int64)  # 0.1 * 35 is a half whatever its last bit says


def check(method, ratios, seed, times) -> tuple[float, float, float]:
    """Shares of sum 1; see `split`.

    Raises:
      DataError: what is wrong before any data are read.
    """
    if method not in METHODS:
        raise DataError(f"wanted a split method of {', '.join(METHODS)}, got {method!r}{nearest(method, METHODS)}.")
    try:
        shares = [float(ratio) for ratio in ratios]
    except (TypeError, ValueError):
        shares = []
    if len(shares) != 3 or not all(0 < share < math.inf for share in shares):
        raise DataError(f"wanted three positive ratios (train, valid, test), got {ratios!r}.")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise DataError(f"wanted an integer seed from 0, got {seed!r}.")
    if times is not None:
        if method != "time":
            raise DataError(f"--split-times: wanted --split time; got {method}.")
        timing.cuts(times)
    return tuple(round(share / sum(shares), 12) for share in shares)


def _require_train(train: np.ndarray, parts: np.ndarray, name: str):
    if not len(train):
        where = "the test part" if (parts == TEST).all() else "the valid and test parts"
        raise DataError(f"wanted training interactions, got none: all interactions are in {where} ({name}).")


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


def _cold(interactions: Interactions, train: np.ndarray) -> list[str]:
    """Notes on users and items that training does not see."""
    notes = []
    for what, column, total in (("users", 0, interactions.num_users), ("items", 1, interactions.num_items)):
        unseen = total - np.unique(train[:, column]).size
        if unseen:
            notes.append(f"{unseen:,} {what} without training interactions, seen only in valid or test")
    return notes
