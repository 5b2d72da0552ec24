"""Names and paths -> the files of a data set and the part of each: bundled, known, in a folder, or any file."""

import glob
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from lthjax.data import library
from lthjax.data.published import AMAZON, PUBLISHED, Counts
from lthjax.errors import DataError, nearest

TRAIN, VALID, TEST = PARTS = (0, 1, 2)  # codes of the parts


class Known(NamedTuple):
    """A data set known by name that is not bundled."""

    parts: tuple[int, ...]  # the parts to read
    pooled: bool  # whether the parts are forgotten
    note: str
    origin: str  # how to get it
    counts: Counts = Counts()  # as LightGCN's authors tell them


KNOWN = {
    "yelp2018": Known(
        (TRAIN, TEST),
        False,
        "Yelp2018 in the split of LightGCN, academic use only",
        "train.txt and test.txt from data/yelp2018 of github.com/gusye1234/LightGCN-PyTorch",
        Counts(1_561_406, 31_668, 38_048),
    ),
    "gowalla": Known(
        (TRAIN, TEST),
        False,
        "Gowalla in the split of LightGCN, for experiments only",
        "train.txt and test.txt from data/gowalla of github.com/gusye1234/LightGCN-PyTorch",
        Counts(1_027_370, 29_858, 40_981),
    ),
    "kuairand": Known(
        (TRAIN, VALID),
        True,
        "stand-in for Kwai: KuaiRand, train and valid pooled; test.txt is a log of randomly shown videos, not loaded",
        "train.txt and valid.txt from data/KuaiRand of github.com/LehengTHU/CF_Rec",
    ),
    "tiktok-clickbait": Known(
        (VALID, TEST),
        True,
        "stand-in for TikTok: validation and test parts of the MMGCN authors' TikTok, pooled",
        "data/tiktok/val_full.npy and test_full.npy of github.com/WenjieWWJ/Clickbait, "
        "written out as lines `user item item ...` to valid.txt and test.txt",
    ),
}
BUNDLED = "ml-latest-small"

_KIND = r"\.(?:txt|inter|csv|tsv|npy|npz|mtx|jsonl?|parquet|data|dat|rating)"
_PACKED = r"\.(?:gz|bz2|xz|zip)"
_PART_FILE = re.compile(rf"(?:.+\.)?(train|valid|val|validation|test){_KIND}(?:{_PACKED})?")
_PART_NAMES = ("train", "valid", "test")
_PART_OF = {"train": TRAIN, "valid": VALID, "val": VALID, "validation": VALID, "test": TEST}


class Source(NamedTuple):
    """The files of one data set."""

    name: str
    files: list  # pathlib.Path or a resource of importlib
    parts: list[int] | None  # the part of each file
    notes: tuple[str, ...] = ()
    pattern: str = ""  # what names the files where all are pieces of one log, to be read as one
    is_published: bool = False  # whether the file is to be read as its row of `published` says


def find(data: str | os.PathLike) -> Source:
    """What a name or a path stands for: a bundled or known name, a path, or a name in $LTHJAX_DATA or ./data.

    Raises:
      DataError: nothing of that name, no part files in the folder, or two files of one part.
    """
    text = os.fspath(data)
    is_name = isinstance(data, str)
    if is_name and data == BUNDLED:
        file = resources.files("lthjax").joinpath("datasets", BUNDLED, "ratings.csv.gz")
        note = "MovieLens latest-small (GroupLens; its terms are in the NOTICE.md beside it)"
        return Source(data, [file], None, (note,))
    if is_name and data in KNOWN:
        return _find_known(data)
    if is_name and data in PUBLISHED and (source := _find_published(data)):
        return source
    paths = [Path(text).expanduser()] + ([root / text for root in roots()] if is_name else [])
    path = next((path for path in paths if os.path.exists(path)), None) if text.strip() else None
    if path is None:
        if is_name and glob.has_magic(text):
            return _matches(text)
        raise _unknown(text)
    if path.is_dir():
        inter = sorted(path.glob("*.inter"))
        if len(inter) == 1 and not _PART_FILE.fullmatch(inter[0].name):  # RecBole's folder of one atomic file
            return Source(path.resolve().name, inter, None)
        if pieces_of_one := _parquet_pieces(path):
            name, is_flat = path.resolve().name, all(piece.parent == path for piece in pieces_of_one)
            notes = () if is_flat else ("what the names of folders say, such as day=2, is not read",)
            return Source(name, pieces_of_one, None, notes, f"{name}/*.parquet")
        files = part_files(path)
        return Source(path.resolve().name, list(files.values()), list(files))
    return Source(_stem(path.name), [path], None)


def _stem(name: str) -> str:
    """A file's name without what it is and how it is packed."""
    return re.sub(rf"({_KIND})?({_PACKED})?$", "", name)


def name_of_pattern(pattern: str) -> str:
    """A name for the files of a pattern: what is fixed in their own name, or else that of their folder."""
    path = Path(pattern)
    fixed = [re.sub(r"\[[^]]*\]|[*?]+", "", _stem(part)).strip("-_.") for part in reversed(path.parts)]
    return next((part for part in fixed if part.strip(os.sep)), "files")


def _matches(pattern: str) -> Source:
    """The files of a pattern such as logs/*.parquet, sorted; relative to here, to $LTHJAX_DATA or to ./data.

    Raises:
      DataError: no file matches.
    """
    for root in [Path(), *roots()]:
        paths = sorted({Path(path) for path in glob.glob(str(root / Path(pattern).expanduser()), recursive=True)})
        files = [path for path in paths if path.is_file()]
        if files:
            notes = () if len(files) > 1 else (f"one file matches {pattern}, {files[0]}",)
            return Source(name_of_pattern(pattern), files, None, notes, os.path.basename(pattern))
    folder = Path(pattern).expanduser().parent
    while glob.has_magic(str(folder)):
        folder = folder.parent
    if not folder.is_dir():
        raise DataError(f"wanted files that match a pattern, got no folder {folder} ({pattern}).")
    there = sorted(path.name for path in folder.iterdir() if path.is_file())
    hint = nearest(os.path.basename(pattern), there) or (f" (such as {there[0]})" if there else "")
    came = f"none among {len(there):,} files in {folder}{hint}" if there else f"a folder without files, {folder}"
    raise DataError(f"wanted files that match a pattern, got {came} ({pattern}).")


def pieces(paths: Sequence[str | os.PathLike]) -> Source:
    """The files of a list, sorted, which are pieces of one log.

    Raises:
      DataError: one that is no file, or comes twice.
    """
    files = []
    for path in paths:
        places = [Path(path).expanduser(), *(root / path for root in roots())]
        file = next((place for place in places if place.is_file()), None)
        if file is None:
            came = "a folder" if any(place.is_dir() for place in places) else "none"
            raise DataError(f"wanted a list of files, got {came} in the place of one ({os.fspath(path)}).")
        files.append(file)
    files.sort()
    for one, other in itertools.pairwise(files):
        if one.resolve() == other.resolve():
            raise DataError(f"wanted every file once, got one twice ({one}).")
    if len(files) == 1:
        return Source(_stem(files[0].name), files, None)
    more = f"{len(files) - 1:,} more"
    name = f"{_stem(files[0].name)}-and-{more.replace(' ', '-')}"
    return Source(name, files, None, pattern=f"{files[0].name} and {more}")


def _parquet_pieces(folder: Path) -> list[Path]:
    """The files of a parquet data set in pieces (part-0000.parquet ...), sorted; none where they are named as parts.

    Raises:
      DataError: several pieces for each of train, valid and test.
    """
    found = list(_parquet_files(folder))
    if any(_PART_FILE.fullmatch(path.name) for path in folder.iterdir()):
        return []
    for path in found:
        if re.match(r"(train|valid|val|validation|test)(?![a-z])", path.relative_to(folder).as_posix(), re.IGNORECASE):
            remedy = "write one file a part, or name one part, FOLDER/train*.parquet"
            raise DataError(f"wanted one file a part, got pieces such as {path.name}: {remedy} ({folder}).")
    return found


def _parquet_files(folder: Path) -> Iterator[Path]:
    """Parquet files of a folder and of those in it that are partitions, as day=2; hidden ones and marks left out."""
    for path in sorted(folder.iterdir()):
        if path.name[0] in "._":
            continue
        if path.is_dir() and "=" in path.name:
            yield from _parquet_files(path)
        elif path.suffix == ".parquet" and path.is_file():
            yield path


def _find_known(name: str) -> Source:
    known = KNOWN[name]
    folder = next((root / name for root in [*roots(), Path()] if (root / name).is_dir()), None)
    if folder is None:
        raise DataError(
            f"wanted {name}, which is not bundled, got no folder of it in $LTHJAX_DATA "
            f"({os.environ.get('LTHJAX_DATA') or 'not set'}) or ./data: get {known.origin}, "
            f"put them into FOLDER/{name}/ and set LTHJAX_DATA=FOLDER."
        )
    files = part_files(folder)
    for part in known.parts:
        if part not in files:
            wanted = f"{_PART_NAMES[part]}.txt or {_PART_NAMES[part]}.txt.gz"
            raise DataError(f"wanted {wanted} of {name}, got none ({folder}): get {known.origin}.")
    parts = None if known.pooled else list(known.parts)
    return Source(name, [files[part] for part in known.parts], parts, (known.note,))


def _find_published(name: str) -> Source | None:
    """None where a folder of that name holds parts of one's own.

    Raises:
      DataError: neither is there.
    """
    places = [*roots(), Path()]
    if file := library.find(name, places):
        return Source(name, [file], None, is_published=True)
    for folder in (root / name for root in places):
        own = [path for path in (folder.iterdir() if folder.is_dir() else ()) if path.suffix in (".inter", ".parquet")]
        if own or (folder.is_dir() and any(_PART_FILE.fullmatch(path.name) for path in folder.iterdir())):
            return None
    raise library.absent(name, roots())


def part_files(folder: Path) -> dict[int, Path]:
    """The file of each part, in the order train, valid, test.

    Raises:
      DataError: no such file, or two of one part.
    """
    files = {}
    for path in sorted(folder.iterdir()):
        match = _PART_FILE.fullmatch(path.name)
        if match is None or not path.is_file():
            continue
        part = _PART_OF[match[1]]
        if part in files:
            raise DataError(f"wanted one file a part, got {files[part].name} and {path.name} ({folder}).")
        files[part] = path
    if not files:
        folds = ", but folds as of ml-100k: pass u.data, or a folder of u1.base as train.data and u1.test as test.data"
        came = "none" + folds * any(folder.glob("u*.base"))
        raise DataError(f"wanted a folder with train, valid or test files (such as train.txt), got {came} ({folder}).")
    return dict(sorted(files.items()))


def roots() -> list[Path]:
    """Where data sets are looked for by name."""
    own = os.environ.get("LTHJAX_DATA")
    return ([Path(own).expanduser()] if own else []) + [Path("data")]


def _unknown(text: str) -> DataError:
    if os.sep in text or re.search(rf"({_KIND}|{_PACKED})$", text):
        return DataError(f"wanted a file or folder, got a path where there is none ({text}).")
    folders = [path.name for root in roots() if root.is_dir() for path in sorted(root.iterdir()) if path.is_dir()]
    names = list(dict.fromkeys([BUNDLED, *KNOWN, *PUBLISHED, *folders]))
    shown = [name for name in names if not name.startswith(AMAZON)]
    known = f"{', '.join(shown)}, {AMAZON}CATEGORY"
    return DataError(f"wanted a path or one of {known}, got {text!r}{nearest(text, names)}.")
