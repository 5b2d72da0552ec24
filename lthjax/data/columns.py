"""Which column of a table is what: by its name, by what was asked, or, without names, by evidence in all rows.

Letters: E rows, M ids of a side.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from lthjax.data.filters import Event
from lthjax.data.ids import Column, is_missing, to_float
from lthjax.errors import DataError

_PEOPLE = "user customer reviewer visitor member player reader listener viewer buyer client"
_THINGS = (
    "item movie product business video book song track artist news article recipe game app anime venue poi place "
    "location show hotel restaurant photo post pin image joke course content goods sku beer wine listing"
)
NAMES = {  # as `plain` gives them
    "user": {"user", "users", "uid", "customer", "reviewer", "visitor", "username"},
    "item": {"item", "items", "iid", "movie", "product", "video", "book", "song", "track", "artist", "game", "asin"},
    "rating": {"rating", "ratings", "score", "stars", "overall", "bookrating", "userrating", "starrating"},
    "label": {"label", "labels", "target", "click", "clicked", "isclick", "like", "liked", "islike"},
    "time": {"time", "timestamp", "date", "datetime", "ts", "timems", "unixreviewtime", "reviewtime", "eventdate"},
    "event": {"event", "eventtype", "eventname", "behavior", "behaviour", "behaviortype", "behaviourtype", "action"},
    "value": {"value", "weight", "weights", "count", "counts", "plays", "playcount", "watchratio", "hours", "quantity"},
}
NAMES["time"] |= {"eventtime", "createdat", "unixtime", "timestampms", "timesec", "reviewdate", "checkintime"}
NAMES["event"] |= {"actiontype", "type", "interaction", "interactiontype", "feedback", "feedbacktype"}
NAMES["user"] |= {f"{person}id" for person in _PEOPLE.split()}
NAMES["item"] |= {"parentasin", "isbn", "sku", "stockcode"} | {f"{thing}id" for thing in _THINGS.split()}
_TIME = re.compile(r"\d{4}-\d\d?-\d\d?([T ].*)?|\d\d?/\d\d?/\d{2,4}( .*)?|(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])")
_EARLIEST, _LATEST = 8e8, 2.2e9  # seconds of 1995 and 2039
_LIKE_ITEM = re.compile(r"B0[0-9A-Z]{8}|\d{9}[\dX]|(item|movie|i|m|tt)[-_]?\d+", re.IGNORECASE)
_LIKE_USER = re.compile(r"A[0-9A-Z]{4,20}|(user|u)[-_]?\d+", re.IGNORECASE)
_WIDEST_WITHOUT_NAMES = 8  # columns of numbers; more of them are a matrix
_FEW = 11  # different values of a rating or a category


class Options(NamedTuple):
    """How sources are to be read."""

    format: str = "auto"  # of formats.FORMATS
    columns: Any = None  # user,item[,rating[,time]] by name or place: "a,b,c" or a sequence; rating may be empty
    min_rating: float | None = None
    encoding: str | None = None  # of text
    event: Event | None = None
    times: str = "unread"  # or "if any", or "required"
    values: bool = False  # whether ratings, counts and the like are kept
    dislikes: bool = False  # whether rows below min_rating are kept


class Sheet(NamedTuple):
    """One source in columns, of which only the first rows are read."""

    source: str
    reading: str  # what it is read as
    header: list[str] | None
    rows: list[list[str]]  # the first ones, without the header
    blocks: Callable[[list[int]], Iterator]  # positions -> pandas DataFrames with these columns
    where: Callable[[int], str]  # row -> its place, for errors
    notes: tuple[str, ...] = ()
    empty_users: tuple[str, ...] = ()  # listed without an item
    is_lists: bool = False
    quoted: Sequence[tuple[int, list[str]]] = ()  # line and fields within quotes that look like rows
    is_loose: bool = False  # rows may lack columns, as records of JSON do

    def name(self, position: int) -> str:
        """A column's name, or its place."""
        return repr(self.header[position]) if self.header else f"column {position}"


class Roles(NamedTuple):
    """Positions of the columns that matter."""

    user: int
    item: int
    value: int | None  # rating or label
    is_label: bool  # 1 is a positive
    assumed: bool  # by place alone: wants `require_evidence`
    time: int | None = None  # where times are read
    event: int | None = None  # where they are asked for
    kept: int | None = None  # what the values of interactions are taken from


def plain(name: str) -> str:
    """A header's name in lower case without `_`, `-`, blanks and `:type`."""
    return re.sub(r"[_\-\s]", "", name.partition(":")[0].lower())


def header_of(rows: list[list[str]], columns=None) -> list[str] | None:
    """The first row if it is a header: it has a known or an asked name, or words where the rows have none."""
    first, heads = rows[0], [_kind(field) for field in rows[0]]
    if any(name in first and not name.isdecimal() for name in _asked(columns)):
        return first
    if any(plain(name) in NAMES["user"] | NAMES["item"] for name in first):
        return first
    for head, fields in zip(heads, zip(*rows[1:], strict=False), strict=False):
        kinds = {_kind(field) for field in fields} - {"none"}
        if len(kinds) == 1 and kinds.isdisjoint({"word", head}) and "number" not in heads and head != "none":
            return first
    return None


def _kind(field: str) -> str:
    """number, word (no digit in it), mixed, or none."""
    if is_missing(field):
        return "none"
    return "number" if not np.isnan(to_float(field)) else "mixed" if re.search(r"\d", field) else "word"


def choose(sheet: Sheet, options: Options) -> Roles:
    """The columns of users, items, ratings or labels; of times, events and values where they are wanted.

    Raises:
      DataError: no column or several columns of one side, names that are none, no rating or time where one is needed.
    """
    header, width, rated = sheet.header, len(sheet.header or sheet.rows[0]), options.min_rating is not None
    asked, times = _places_of_pairs(sheet, width) if options.format == "pairs" else _asked(options.columns), []
    if asked:
        names = [name for name in asked if name]
        if len(asked) not in (2, 3, 4) or not all(asked[:2]) or len(set(names)) != len(names):
            wanted = "user,item[,rating[,time]], all different (only the rating may be empty)"
            raise DataError(f"wanted columns as {wanted}, got {asked} ({sheet.source}).")
        places = [[_position(name, sheet, width)] if name else [] for name in (*asked, "", "")]
        (user,), (item,), values, times = places[:4]
    elif header is not None:
        (user,), (item,) = (_known(sheet, side, 1, 1) for side in ("user", "item"))
        values = _known(sheet, "rating", 0, 1) if rated else []
    else:
        _refuse_matrix(sheet)
        user, item = 0, 1
        is_weight = width == 3 and all(_kind(row[2]) == "number" and not _is_time(row[2]) for row in sheet.rows)
        values = [2] if is_weight else []
    if header is not None and not values:  # negatives are none whether columns were asked or not
        values = _known(sheet, "label", 0, 1) or ([] if asked else _known(sheet, "rating")[:1])
    if rated and not values:
        raise DataError(f"--min-rating wants a rating: name it, --columns user,item,rating ({sheet.source}).")
    is_label = header is not None and bool(values) and plain(header[values[0]]) in NAMES["label"]
    if options.dislikes and not rated and not is_label:
        raise DataError(f"--dislikes wants --min-rating, or a column of labels, got neither ({sheet.source}).")
    value, taken = values[0] if values else None, {user, item, *values}
    event = None if options.event is None else _of_event(sheet, options.event, width)
    time = None if options.times == "unread" else times[0] if times else _of_time(sheet, taken, options, width)
    kept = _of_values(sheet, value, len(asked) > 2 or rated) if options.values else None
    return Roles(user, item, value, is_label, not asked and header is None, time, event, kept)


def _places_of_pairs(sheet: Sheet, width: int) -> list[str]:
    """Columns of `user item [weight] [time]` as `--columns` has them."""
    is_time = width > 2 and all(_is_time(row[width - 1]) for row in sheet.rows)
    if width > 3 + is_time:
        raise DataError(f"wanted `user item [weight] [time]`, got {width} fields ({sheet.source}).")
    places = [str(place) for place in range(width)]
    return [*places[:2], "", places[2]] if is_time and width == 3 else places


def _of_event(sheet: Sheet, event: Event, width: int) -> int:
    if event.column is not None:
        return _position(event.column, sheet, width)
    named = [place for place, name in enumerate(sheet.header or ()) if plain(name) in NAMES["event"]]
    if len(named) != 1:
        came = f"{len(named) or 'none'} of a known name among {sheet.header or f'{width} columns without names'}"
        kinds = ",".join(event.kinds)
        raise DataError(f"--event: wanted one column of events, got {came}: say COLUMN={kinds} ({sheet.source}).")
    return named[0]


def _of_time(sheet: Sheet, taken: set[int], options: Options, width: int) -> int | None:
    """The column of times: the one of a known name, or the one that looks like it; of several of these, neither."""
    named = [p for p in range(width) if p not in taken and sheet.header and plain(sheet.header[p]) in NAMES["time"]]
    alike = [p for p in named or range(width) if p not in taken and all(_is_time(row[p]) for row in sheet.rows)]
    found = named if len(named) == 1 else alike if named or not sheet.header else []
    if len(found) == 1:
        return found[0]
    if options.times == "required":
        came = f"{len(found) or 'none'} among {sheet.header or f'{width} columns without names'}"
        remedy = "name it, --columns user,item,,time, or take --split random or leave-one-out-random"
        raise DataError(f"a split by time wants one column of times, got {came}: {remedy} ({sheet.source}).")
    return None


def _of_values(sheet: Sheet, value: int | None, is_asked: bool) -> int | None:
    """The column of values: the one that was asked for, else counts and the like before ratings; None: rows count."""
    if value is not None and (is_asked or sheet.header is None):
        return value
    for side in ("value", "rating"):
        named = [place for place, name in enumerate(sheet.header or ()) if plain(name) in NAMES[side]]
        if len(named) > 1:
            came = [sheet.header[place] for place in named]
            remedy = "say which, --columns user,item,value"
            raise DataError(f"--weights: wanted one column of values, got {came}: {remedy} ({sheet.source}).")
        if named:
            return named[0]
    return None


def _asked(columns) -> list[str]:
    return [str(name).strip() for name in (columns.split(",") if isinstance(columns, str) else columns or ())]


def _position(name: str, sheet: Sheet, width: int) -> int:
    names = [known.partition(":")[0] for known in sheet.header or ()]
    for header in (sheet.header or [], names):
        if name in header:
            return header.index(name)
    if name.isdecimal() and int(name) < width:
        return int(name)
    came = names or f"{width} columns, counted from 0"
    raise DataError(f"wanted column {name!r}, got {came} ({sheet.source}, line 1).")


def _known(sheet: Sheet, side: str, least: int = 0, most: int = 99) -> list[int]:
    """Columns with a known name; of several users or items, the one that ends in id."""
    positions = [position for position, name in enumerate(sheet.header) if plain(name) in NAMES[side]]
    if len(positions) > 1:
        ending = [position for position in positions if plain(sheet.header[position]).endswith("id")]
        positions = ending if len(ending) == 1 else positions
    if least <= len(positions) <= most:
        return positions
    rows = [dict(zip(sheet.header, (field[:20] for field in row), strict=False)) for row in sheet.rows[:3]]
    came = f"{len(positions) or 'none'} of a known name"
    remedy = "say --columns user,item" + f",{side}" * (side in ("rating", "label"))
    raise DataError(f"wanted one column of {side}s, got {came}: {remedy}; rows: {str(rows)[1:300]} ({sheet.source}).")


def _refuse_matrix(sheet: Sheet) -> None:
    fields = [field for row in sheet.rows for field in row]
    width, numeric = len(sheet.rows[0]), all(_kind(field) in ("number", "none") for field in fields)
    columns = [set(column) for column in zip(*sheet.rows, strict=True)]
    apart = any(all(column.isdisjoint(other) for other in columns if other is not column) for column in columns)
    alike = width > 3 and len(sheet.rows) > _FEW and len(set(fields)) <= _FEW and not apart
    if numeric and (width > _WIDEST_WITHOUT_NAMES or alike):
        came = f"{width} columns of numbers without names, as in a matrix of users and items"
        remedy = "save it as a SciPy sparse matrix (.npz), or say --columns"
        raise DataError(f"wanted a row for each interaction, got {came}: {remedy} ({sheet.source}).")


def note(sheet: Sheet, roles: Roles, options: Options) -> str:
    """What is read as what, and the first row as it is read: `user 1, item 31 (rating 2.5, time 2009-12-14)`.

    Args:
      sheet: the source.
      roles: of its columns.
      options: with a least rating the ratings are used.
    """
    what = "label" if roles.is_label else "rating"
    read = f"user {sheet.name(roles.user)}, item {sheet.name(roles.item)}"
    if roles.value is not None:
        read += f", {what} {sheet.name(roles.value)}"
        if options.min_rating is None and not roles.is_label:
            read += " not used" * (roles.value != roles.kept) + " (every row is a positive)"
    for role, position in (("time", roles.time), ("event", roles.event)):
        read += f", {role} {sheet.name(position)}" if position is not None else ""
    if options.values:
        kept = "the number of rows" if roles.kept is None else sheet.name(roles.kept)
        read += f", value {kept}"
    row, rest = sheet.rows[0], []
    for position, field in enumerate(row):
        is_time = plain(sheet.header[position]) in NAMES["time"] if sheet.header else _is_time(field)
        if position == roles.value:
            rest.append(f"{what} {to_float(field):g}")
        elif is_time and position not in roles[:2]:
            seconds = _seconds(field)
            rest.append(f"time {field[:19] if seconds is None else np.datetime64(seconds, 's').item().date()}")
        elif not sheet.header and position not in roles[:2]:
            rest.append(f"column {position}: {field[:24]}")
    first = f"user {row[roles.user][:40]}, item {row[roles.item][:40]}" + (f" ({', '.join(rest[:4])})" if rest else "")
    return f"read as {sheet.reading}: {read}; first {first}"


def _seconds(field: str) -> int | None:
    """A time in seconds, if the field is one in seconds or milliseconds."""
    number = to_float(field)
    seconds = number / 1000 if number > _LATEST else number
    return int(seconds) if _EARLIEST <= seconds <= _LATEST else None


def _is_time(field: str) -> bool:
    return _seconds(field) is not None or _TIME.fullmatch(field) is not None


def require_evidence(table, users: Column, items: Column) -> None:
    """Refuse columns without names that are not surely users and items.

    Args:
      table: the first one of them, for errors.
      users: the ids of column 0.
      items: the ids of column 1.
    """
    width = table.assumed_width
    doubt = _doubt(*users, 0, width) or _doubt(*items, 1, width) or _doubt_of_both(*users, *items)
    if doubt:
        first = zip(users.words[users.codes[:3]], items.words[items.codes[:3]], strict=True)
        rows = "; ".join(f"user {user}, item {item}" for user, item in first)
        raise DataError(
            f"wanted a header, or columns that are surely users and items, got a table {doubt}; it would be read as "
            f"{rows[:200]}: say --columns 0,1 or other places, or --format adjacency if it is lists ({table.source})."
        )


def _doubt(numbers, ids, position: int, width: int) -> str | None:
    if len(ids) == len(numbers):
        return f"whose column {position} never repeats"
    if all(_is_time(str(word)) for word in ids[:1000]):
        return f"whose column {position} is a time"
    if width > 2 and len(ids) <= _FEW and len(numbers) > 4 * _FEW:
        return f"whose column {position} may be a rating or a category, with {len(ids)} different values"
    if position == 0 and np.mean([" " in str(word) for word in ids[:1000]]) > 0.5:
        return "whose column 0 may be titles"
    return None


def _doubt_of_both(users, user_ids, items, item_ids) -> str | None:
    starts, steps = np.append(True, np.diff(users) != 0), np.diff(items, prepend=0)
    is_range = item_ids.dtype.kind == "i" and item_ids[0] in (0, 1) and item_ids[-1] - item_ids[0] == len(item_ids) - 1
    if is_range and np.all(np.where(starts, items == 0, steps == 1)):
        return "whose column 1 counts the rows of each user"
    if all(_are_like(*side) for side in ((_LIKE_ITEM, user_ids), (_LIKE_USER, item_ids))):
        return "whose column 0 looks like items and column 1 like users"
    once = (users == users[0]).sum() == (items == items[0]).sum() == 1
    if once and _kind(str(user_ids[users[0]])) == _kind(str(item_ids[items[0]])) == "word":
        return "whose first line may be a header"
    return None


def _are_like(pattern: re.Pattern, ids: np.ndarray) -> bool:
    return np.mean([pattern.fullmatch(str(word)) is not None for word in ids[:1000]]) > 0.9
