"""Times of interactions: since 1970 in some unit, dates, or numbers of which only the order is known.

Letters: E rows.
"""

from collections.abc import Sequence

import numpy as np

from lthjax.data.ids import is_missing
from lthjax.errors import DataError

_FIRST, _LAST = 631_152_000, 4_102_444_800  # seconds of 1990 and 2100; ranges in other units do not overlap
_PER_SECOND = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
_DIGITS = {"%Y%m%d": (19_000_101, 21_001_231), "%Y%m%d%H%M%S": (19_000_101_000_000, 21_001_231_235_959)}
WANTED = "seconds (or milli-, micro-, nanoseconds) since 1970, or dates such as 2015-12-31 or 2015-12-31T23:59:59"


class NotATime(ValueError):
    """A row whose time cannot be read."""

    def __init__(self, row: int, among: str):
        super().__init__(among)
        self.row, self.among = row, among


def parsed(column) -> np.ndarray:
    """[E] int64 or float64 where a pandas column holds numbers, as numbers or as text; datetime64[us] where dates.

    NaN and NaT stand for what is neither; dates without a zone are in UTC.
    """
    import pandas as pd

    is_date = pd.api.types.is_datetime64_any_dtype(column.dtype)
    if not is_date and pd.api.types.infer_dtype(column, skipna=True) not in ("date", "datetime", "datetime64"):
        numbers = pd.to_numeric(column, errors="coerce")
        if pd.api.types.is_integer_dtype(numbers) and not numbers.isna().any():
            return numbers.to_numpy(np.int64)
        if numbers.notna().any() or all(is_missing(str(word)) for word in column):
            return numbers.to_numpy(np.float64, na_value=np.nan)
        column = column.astype(str).str.strip()
    dates = pd.to_datetime(column, format=None if is_date else "ISO8601", utc=True, errors="coerce")
    return dates.dt.tz_localize(None).to_numpy().astype("datetime64[us]")


def settled(parts: Sequence[np.ndarray], keep: np.ndarray) -> tuple[np.ndarray, str]:
    """[E] datetime64[us], or int64 where only the order of the numbers is known, and what the times were given in.

    Args:
      parts: of `parsed`, one below the other.
      keep: [E] bool, the rows that must have a time; that of others says nothing.

    Raises:
      NotATime: a row that has none, or one that is in no unit that all of them could be in.
    """
    is_date = [part.dtype.kind == "M" for part in parts]
    if any(is_date) != all(is_date):  # the first row of the other kind is as good a culprit as any
        rows = np.repeat(is_date, [part.size for part in parts])
        raise NotATime(int(np.argmax(rows != rows[0])), "dates" if rows[0] else "numbers")
    times = np.concatenate(parts)
    for row in np.flatnonzero(keep & (np.isnat(times) if is_date[0] else ~np.isfinite(times)))[:1]:
        raise NotATime(int(row), "dates" if is_date[0] else "numbers")
    if is_date[0]:
        return times, "dates"
    return _from_numbers(np.where(keep, times, times[np.argmax(keep)]), keep)


def _from_numbers(times: np.ndarray, keep: np.ndarray) -> tuple[np.ndarray, str]:
    """`settled` for finite numbers: the unit in which all lie between 1990 and 2100, digits of dates, or none."""
    least, most = times.min(), times.max()
    for unit, per_second in _PER_SECOND.items():
        if least >= _FIRST * per_second and most < _LAST * per_second:
            return _in_microseconds(times, per_second), f"{unit} since 1970"
    for form, (first, last) in _DIGITS.items():
        if first <= least and most <= last and (dates := _from_digits(times, form)) is not None:
            return dates, "dates"
    if least >= 0 and most < _FIRST and (times == np.floor(times)).all():
        return times.astype(np.int64), "numbers without a unit: only their order counts"
    for unit, per_second in _PER_SECOND.items():
        is_in = (times >= _FIRST * per_second) & (times < _LAST * per_second)
        if np.count_nonzero(is_in[keep]) * 2 >= np.count_nonzero(keep):
            raise NotATime(int(np.argmin(is_in)), unit)
    is_plain = (times >= 0) & (times < _FIRST) & (times == np.floor(times))
    raise NotATime(int(np.argmin(is_plain)), "numbers")


def _in_microseconds(times: np.ndarray, per_second: int) -> np.ndarray:
    if times.dtype.kind == "f":
        times = np.round(times * (10**6 / per_second)).astype(np.int64)
    else:
        times = times * (10**6 // per_second) if per_second <= 10**6 else times // (per_second // 10**6)
    return times.view("datetime64[us]")


def _from_digits(times: np.ndarray, form: str) -> np.ndarray | None:
    import pandas as pd

    words, codes = np.unique(times, return_inverse=True)
    dates = pd.to_datetime(pd.Series(words.astype(np.int64)).astype(str), format=form, errors="coerce").to_numpy()
    return None if np.isnat(dates).any() else dates.astype("datetime64[us]")[codes]


def cuts(text: str) -> np.ndarray:
    """[2] the two times of `--split-times`, as `settled` gives them.

    Raises:
      DataError: not two, no times, or not one after the other.
    """
    import pandas as pd

    words = [word.strip() for word in text.split(",")] if isinstance(text, str) else []
    came = f'--split-times: wanted two times, the later one last, "2015-01-01,2016-01-01"; got {text!r}.'
    if len(words) != 2:
        raise DataError(came)
    try:
        valid, test = found = settled([parsed(pd.Series(words, dtype=object))], np.ones(2, bool))[0]
    except NotATime:
        raise DataError(came) from None
    if not valid < test:
        raise DataError(came)
    return found


def shown(time: np.generic) -> str:
    """A time as people and `--split-times` read it: 2015-12-31, 2015-12-31T23:59:59, or a number."""
    return str(np.datetime_as_string(time, unit="auto") if isinstance(time, np.datetime64) else time)


def note(times: np.ndarray, unit: str) -> str:
    """The range of times [E], E > 0."""
    first, last = times.min(), times.max()
    days = [time.astype("datetime64[D]") for time in (first, last)] if times.dtype.kind == "M" else []
    if days and days[0] < days[1]:
        first, last = days
    return f"times from {shown(first)} to {shown(last)} ({unit})"
