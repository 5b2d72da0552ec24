"""Which data sets have a name, where they would be found, and whether they are there."""

import os
from typing import TYPE_CHECKING, Any

from lthjax.data import catalog, library
from lthjax.data.catalog import BUNDLED, KNOWN
from lthjax.data.published import PUBLISHED, Counts, in_words
from lthjax.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def datasets() -> "pd.DataFrame":
    """The data sets known by name, and the folders in $LTHJAX_DATA and ./data, whose names will do too.

        lthjax.datasets()[["name", "here", "interactions"]]

    A row has: name; here, the path or "" where it is not there; wanted, the file to get, and where it is looked for;
    interactions, users and items as its publishers count them, rounded where they round, "" where they do not tell;
    page, where it comes from; says, what to know of it.
    """
    import pandas as pd

    return pd.DataFrame([_bundled(), *map(_known, KNOWN), *map(_published, PUBLISHED), *map(_own, _own_folders())])


def _row(name: str, here: Any, **others: Any) -> dict[str, str]:
    columns = ("wanted", "interactions", "users", "items", "page", "says")
    return {"name": name, "here": "" if here is None else str(here)} | {key: others.get(key, "") for key in columns}


def _bundled() -> dict[str, str]:
    counts = {"interactions": "100,004", "users": "671", "items": "9,066"}
    page = "https://grouplens.org/datasets/movielens/"
    return _row(BUNDLED, "in the package", page=page, says="MovieLens latest-small; comes with lthjax", **counts)


def _known(name: str) -> dict[str, str]:
    folders = [root / name for root in catalog.roots()]
    here = next((folder for folder in folders if folder.is_dir()), None)
    known = KNOWN[name]
    return _row(
        name,
        here,
        wanted=" or ".join(f"{folder}/" for folder in folders),
        page=known.origin,
        says=known.note,
        **_counts(known.counts),
    )


def _published(name: str) -> dict[str, str]:
    known, roots = PUBLISHED[name], catalog.roots()
    try:
        here = library.find(name, roots)
    except DataError as error:
        here = f"damaged: {error}"
    file = known.archive or known.files[0]
    return _row(
        name,
        here,
        wanted=" or ".join(f"{root}/{file}" for root in roots),
        page=known.page,
        says=known.says,
        **_counts(known.counts),
    )


def _own(folder: os.PathLike) -> dict[str, str]:
    return _row(os.path.basename(folder), folder, says="a folder of your own")


def _own_folders() -> list[os.PathLike]:
    """Folders in the data folders that are not those of a known data set; of two with one name, the first is read."""
    known = {BUNDLED, *KNOWN, *PUBLISHED} | {known.folder for known in PUBLISHED.values()}
    folders = [path for root in catalog.roots() if root.is_dir() for path in sorted(root.iterdir()) if path.is_dir()]
    return list({path.name: path for path in reversed(folders) if path.name not in known}.values())[::-1]


def _counts(counts: Counts) -> dict[str, str]:
    return {what: in_words(count) for what, count in counts._asdict().items()}
