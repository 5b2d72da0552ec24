"""Interactions -> train, valid, test.

Letters: E interactions (of a part), M users, N items.
"""

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from lthjax.data.catalog import PARTS, TEST, TRAIN, VALID
from lthjax.data.interactions import Interactions
from lthjax.errors import DataError, nearest

METHODS = ("auto", "random", "files", "cut")


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

    def matrix(self, part: str = "train") -> sparse.csr_matrix:
        """[M, N] float32, 1 where a part has an interaction: what implicit and LightFM are fitted on.

        Raises:
          DataError: there is no such part.
        """
        if part not in ("train", "valid", "test"):
            raise DataError(f"wanted train, valid or test; got {part!r}{nearest(part, ('train', 'valid', 'test'))}.")
        user, item = getattr(self, part).T
        # A matrix, no array: implicit asks for one.
        return sparse.csr_matrix((np.ones(len(user), np.float32), (user, item)), (self.num_users, self.num_items))

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with any pair, its part, or any original id."""
        digest = hashlib.sha256()
        for part in (self.train, self.valid, self.test):
            digest.update(f"{part.shape}".encode())
            digest.update(np.ascontiguousarray(part, "<i4").tobytes())
        for ids in (self.user_ids, self.item_ids):
            is_text = ids.dtype.kind == "U"
            digest.update(f"{ids.dtype.kind}{ids.shape}".encode())
            digest.update("\n".join(ids.tolist()).encode() if is_text else np.ascontiguousarray(ids, "<i8").tobytes())
        return digest.hexdigest()[:16]


def split(interactions: Interactions, *, method="auto", ratios=(0.7, 0.1, 0.2), seed=0) -> Split:
    """Split interactions into train, valid and test.

    Args:
      interactions: from `data.load`.
      method: auto: files where the source has all three parts, else random, so that nobody's test part is pooled
        unseen. random: per user at random, whatever parts the source has. files: the source's own parts.
        cut: the source's test part; valid is cut per user at random from the rest.
      ratios: shares of train, valid and test (scaled to sum 1). Per user, floor(share n + 1/2) of n interactions go to
        test and to valid, but one at least stays in train. cut takes ratios[1] / (ratios[0] + ratios[1]) for valid.
      seed: of the random draws; the same seed gives the same split, whatever the order of the source's rows.

    Raises:
      DataError: unknown method, ratios that are not positive, missing parts, no training interactions.
    """
    ratios = _checked(method, ratios, seed)
    pairs, parts = interactions.pairs, interactions.parts
    if method == "auto":
        method = "files" if parts is not None and np.isin(PARTS, parts).all() else "random"
    if method != "random":
        if parts is None:
            raise DataError(
                f"method {method!r} wants train and test parts, got data without parts ({interactions.name})."
            )
        if not (parts == TEST).any():
            raise DataError(f"method {method!r} wants a test part, got none ({interactions.name}).")
        _require_train(pairs[parts == TRAIN] if method == "files" else pairs[parts != TEST], parts, interactions.name)
    if method == "random":
        part = _draw(pairs[:, 0], interactions.num_users, (ratios[1], ratios[2]), seed)
        shares = ":".join(f"{share:g}" for share in ratios)
        note = f"split per user at random, train:valid:test {shares}, seed {seed}"
    elif method == "files":
        part, note = parts, "split as in the source's files"
        if not (parts == VALID).any():
            note += " (no valid part)"
    else:
        rest, share = parts != TEST, ratios[1] / (ratios[0] + ratios[1])
        part = np.full(len(pairs), TEST, np.int8)
        part[rest] = _draw(pairs[rest, 0], interactions.num_users, (share, 0.0), seed)
        note = f"test as in the source's files, valid cut per user at random ({share:g} of the rest), seed {seed}"
    train, valid, test = (pairs[part == code] for code in (TRAIN, VALID, TEST))
    sizes = f"{len(train):,} train, {len(valid):,} valid, {len(test):,} test"
    notes = (*interactions.notes, note, sizes, *_cold(interactions, train, method))
    return Split(interactions.name, interactions.user_ids, interactions.item_ids, notes, train, valid, test)


def _draw(users: np.ndarray, num_users: int, shares: tuple[float, float], seed: int) -> np.ndarray:
    """[E] int8 part codes for `users` [E], ascending; shares of valid and test per user."""
    count = np.bincount(users, minlength=num_users)
    num_test = np.minimum(_rounded(shares[1], count), np.maximum(count - 1, 0))
    num_valid = np.minimum(_rounded(shares[0], count), np.maximum(count - 1 - num_test, 0))
    order = np.lexsort((np.random.default_rng(seed).random(users.size), users))  # a random order within each user
    rank = np.arange(users.size) - np.repeat(np.cumsum(count) - count, count)
    part = np.empty(users.size, np.int8)
    part[order] = np.where(rank < num_test[users], TEST, np.where(rank < (num_test + num_valid)[users], VALID, TRAIN))
    return part


def _rounded(share: float, count: np.ndarray) -> np.ndarray:
    return np.floor(share * count + 0.5 + 1e-9).astype(np.int64)  # 0.1 * 35 is a half whatever its last bit says


def _checked(method, ratios, seed) -> tuple[float, float, float]:
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
    return tuple(round(share / sum(shares), 12) for share in shares)


def _require_train(train: np.ndarray, parts: np.ndarray, name: str):
    if not len(train):
        where = "the test part" if (parts == TEST).all() else "the valid and test parts"
        raise DataError(f"wanted training interactions, got none: all interactions are in {where} ({name}).")


def _cold(interactions: Interactions, train: np.ndarray, method: str) -> list[str]:
    """Notes on users and items that training does not see."""
    notes = []
    single = np.count_nonzero(np.bincount(interactions.pairs[:, 0], minlength=interactions.num_users) == 1)
    if single and method == "random":
        notes.append(f"{single:,} users with one interaction: it stays in train")
    for what, column, total in (("users", 0, interactions.num_users), ("items", 1, interactions.num_items)):
        unseen = total - np.unique(train[:, column]).size
        if unseen:
            notes.append(f"{unseen:,} {what} without training interactions, seen only in valid or test")
    return notes
