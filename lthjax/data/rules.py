"""Rules of splitting: which interactions are train, valid and test.

A rule takes Interactions and a Plan, and gives the Interactions that it splits, a part code for each, and a note.
Letters: E interactions, M users.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lthjax.data import times as timing
from lthjax.data.catalog import PARTS, TEST, TRAIN, VALID
from lthjax.data.interactions import Interactions, only
from lthjax.errors import DataError, nearest


class Plan(NamedTuple):
    """How to split."""

    method: str  # of METHODS
    shares: tuple[float, float, float]  # of train, valid and test, sum 1
    seed: int
    times: str | None  # where valid and test begin, with method time


def plan(method: Any, ratios: Any, seed: Any, times: Any) -> Plan:
    """A checked Plan; see `split.split` for what it is made of.

    Raises:
      DataError: what is wrong whatever the data are.
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
    return Plan(method, tuple(round(share / sum(shares), 12) for share in shares), seed, times)


Rule = Callable[[Interactions, Plan], tuple[Interactions, np.ndarray, str]]


def _per_user(interactions: Interactions, plan: Plan) -> tuple[Interactions, np.ndarray, str]:
    """At random, or the last ones to test and those before to valid."""
    times = interactions.times if plan.method in BY_TIME else None
    leaves_one_out = plan.method.startswith("leave-one-out")
    sizes = _leave_one_out if leaves_one_out else _by_share(*plan.shares[1:])
    users = interactions.pairs[:, 0]
    order = _order(users, plan.seed, times)
    part = _dealt(order, users, interactions.num_users, sizes)
    shares = "train:valid:test " + ":".join(f"{share:g}" for share in plan.shares)
    what = "one test and one valid interaction a user" if leaves_one_out else shares
    if times is None:
        return interactions, part, f"split per user at random, {what}, seed {plan.seed}"
    note = f"split per user by time, the last ones in test, {what}"
    one, next_one = order[:-1], order[1:]
    is_cut = (users[one] == users[next_one]) & (part[one] != part[next_one])
    if num_tied := np.unique(users[one][is_cut & (times[one] == times[next_one])]).size:
        note += f"; for {num_tied:,} users equal times lie on both sides of a cut: drawn, seed {plan.seed}"
    return interactions, part, note


def _files(interactions: Interactions, plan: Plan) -> tuple[Interactions, np.ndarray, str]:
    """The source's own parts."""
    parts = _own_parts(interactions, plan)
    _require_train(parts == TRAIN, interactions)
    return interactions, parts, files_note(VALID in parts)


def files_note(has_valid: bool) -> str:
    """What the rule `files` says of a source's parts."""
    return "split as in the source's files" + " (no valid part)" * (not has_valid)


def _cut(interactions: Interactions, plan: Plan) -> tuple[Interactions, np.ndarray, str]:
    """The source's test part, and valid from the rest, per user at random."""
    parts, pairs = _own_parts(interactions, plan), interactions.pairs
    rest, share = parts != TEST, plan.shares[1] / (plan.shares[0] + plan.shares[1])
    _require_train(rest, interactions)
    part = np.full(len(pairs), TEST, np.int8)
    users = pairs[rest, 0]
    part[rest] = _dealt(_order(users, plan.seed), users, interactions.num_users, _by_share(share, 0.0))
    note = f"test as in the source's files, valid cut per user at random ({share:g} of the rest), seed {plan.seed}"
    return interactions, part, note


def _time(interactions: Interactions, plan: Plan) -> tuple[Interactions, np.ndarray, str]:
    """All before a moment to train, all after a later one to test; users of whom train knows nothing are left out."""
    when, name = interactions.times, interactions.name
    if plan.times is not None:
        moments = timing.cuts(plan.times)
        if moments.dtype != when.dtype:
            wanted = "numbers without a unit" if when.dtype.kind == "i" else "times with dates"
            raise DataError(f"--split-times: wanted what the source has, {wanted}; got {plan.times!r} ({name}).")
    else:
        ends = [math.floor(share * when.size + 0.5 + 1e-9) for share in (plan.shares[0], sum(plan.shares[:2]))]
        moments = np.sort(when)[np.minimum(ends, when.size - 1)]
    part = (when >= moments[0]).astype(np.int8) + (when >= moments[1])
    trained = np.bincount(interactions.pairs[part == TRAIN, 0], minlength=interactions.num_users) > 0
    kept = trained[interactions.pairs[:, 0]]
    counts = [np.count_nonzero(part[kept] == code) for code in PARTS]
    late = f"{np.count_nonzero(~kept):,} interactions of {np.count_nonzero(~trained):,} users who begin later"
    if not all(counts):
        sizes = "{:,} train, {:,} valid, {:,} test".format(*counts) + f" and {late}" * (not kept.all())
        cut, ends = (" and ".join(map(timing.shown, pair)) for pair in (moments, (when.min(), when.max())))
        raise DataError(
            f"--split time: wanted interactions in all three parts, got {sizes}, cut at {cut} between {ends}: "
            f"take other --split-times or --ratios ({name})."
        )
    note = f"split by time, valid from {timing.shown(moments[0])}, test from {timing.shown(moments[1])} on"
    note += f"; {late} are left out, since nothing is trained for them" * (not kept.all())
    return only(interactions, kept), part[kept], note


RULES: dict[str, Rule] = {
    "random": _per_user,
    "user-time": _per_user,
    "time": _time,
    "leave-one-out": _per_user,
    "leave-one-out-random": _per_user,
    "files": _files,
    "cut": _cut,
}
METHODS = ("auto", *RULES)
BY_TIME = ("user-time", "time", "leave-one-out")


def _own_parts(interactions: Interactions, plan: Plan) -> np.ndarray:
    parts, name = interactions.parts, interactions.name
    if parts is None:
        raise DataError(f"method {plan.method!r} wants train and test parts, got data without parts ({name}).")
    if TEST not in parts:
        raise DataError(f"method {plan.method!r} wants a test part, got none ({name}).")
    return parts


def _require_train(is_train: np.ndarray, interactions: Interactions) -> None:
    if not is_train.any():
        where = "the test part" if (interactions.parts == TEST).all() else "the valid and test parts"
        came = f"none: all interactions are in {where}"
        raise DataError(f"wanted training interactions, got {came} ({interactions.name}).")


def _by_share(valid: float, test: float) -> Callable:
    """Numbers of valid and test interactions for [M] numbers of interactions; one at least stays in train."""

    def sizes(count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        num_test = np.minimum(_rounded(test, count), np.maximum(count - 1, 0))
        return np.minimum(_rounded(valid, count), np.maximum(count - 1 - num_test, 0)), num_test

    return sizes


def _leave_one_out(count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One test interaction where there are two, one valid where there are three."""
    return (count >= 3).astype(np.int64), (count >= 2).astype(np.int64)


def _order(users: np.ndarray, seed: int, times=None) -> np.ndarray:
    """[E] places of interactions: user after user, the latest first, those of equal time in random order."""
    keys = () if times is None else (-times.view(np.int64),)
    return np.lexsort((np.random.default_rng(seed).random(users.size), *keys, users))


def _dealt(order: np.ndarray, users: np.ndarray, num_users: int, sizes: Callable) -> np.ndarray:
    """[E] int8 part codes: of each user the first ones in an order are test, the next ones valid.

    Args:
      order: [E], of `_order`.
      users: [E], ascending.
      num_users: M.
      sizes: [M] numbers of interactions -> [M] numbers of valid and of test ones.
    """
    count = np.bincount(users, minlength=num_users)
    num_valid, num_test = sizes(count)
    rank = np.arange(users.size) - np.repeat(np.cumsum(count) - count, count)
    part = np.empty(users.size, np.int8)
    part[order] = np.where(rank < num_test[users], TEST, np.where(rank < (num_test + num_valid)[users], VALID, TRAIN))
    return part


def _rounded(share: float, count: np.ndarray) -> np.ndarray:
    return np.floor(share * count + 0.5 + 1e-9).astype(np.int64)  # 0.1 * 35 is a half whatever its last bit says
