"""Names and paths -> the files of a data set and the part of each: bundled, known, in a folder, or any file."""

import os
import re
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from lthjax.errors import DataError, nearest

TRAIN, VALID, TEST = PARTS = (0, 1, 2)  # codes of the parts


class Known(NamedTuple):
    """A data set known by name that is not bundled."""

    parts: tuple[int, ...]  # the parts to read
    pooled: bool  # whether the parts are forgotten
    note: str
    origin: str  # how to get it


KNOWN = {
    "yelp2018": Known(
        (TRAIN, TEST),
        False,
        "Yelp2018 in the split of LightGCN, academic use only",
        "train.txt and test.txt from data/yelp2018 of github.com/gusye1234/LightGCN-PyTorch",
    ),
    "gowalla": Known(
        (TRAIN, TEST),
        False,
        "Gowalla in the split of LightGCN, for experiments only",
        "train.txt and test.txt from data/gowalla of github.com/gusye1234/LightGCN-PyTorch",
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
    paths = [Path(text).expanduser()] + ([root / text for root in _roots()] if is_name else [])
    path = next((path for path in paths if os.path.exists(path)), None) if text.strip() else None
    if path is None:
        raise _unknown(text)
    if path.is_dir():
        inter = sorted(path.glob("*.inter"))
        if len(inter) == 1 and not _PART_FILE.fullmatch(inter[0].name):  # RecBole's folder of one atomic file
            return Source(path.resolve().name, inter, None)
        files = part_files(path)
        return Source(path.resolve().name, list(files.values()), list(files))
    return Source(re.sub(rf"({_KIND})?({_PACKED})?$", "", path.name), [path], None)


def _find_known(name: str) -> Source:
    known = KNOWN[name]
    folder = next((root / name for root in [*_roots(), Path()] if (root / name).is_dir()), None)
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


def _roots() -> list[Path]:
    """Where data sets are looked for by name."""
    own = os.environ.get("LTHJAX_DATA")
    return ([Path(own).expanduser()] if own else []) + [Path("data")]


def _unknown(text: str) -> DataError:
    if os.sep in text or re.search(rf"({_KIND}|{_PACKED})$", text):
        return DataError(f"wanted a file or folder, got a path where there is none ({text}).")
    folders = [path.name for root in _roots() if root.is_dir() for path in sorted(root.iterdir()) if path.is_dir()]
    names = list(dict.fromkeys([BUNDLED, *KNOWN, *folders]))
    return DataError(f"wanted a path or one of {', '.join(names)}, got {text!r}{nearest(text, names)}.")
