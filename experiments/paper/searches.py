"""The searches, and the random controls beside them, that tables and figures compare; no command by itself."""

from typing import Any, Literal

from lthjax.settings import CHEAP_SEARCHES

Search = Literal[
    "IMP",
    "one-shot",
    "short",
    "short by movement",
    "early",
    "gradual",
    "dynamic",
    "random-by-degree",
    "random",
]
_ONE_SHOT = {"search": "one-shot"}
CHANGES: dict[str, dict[str, Any]] = {  # what each is, in settings
    "IMP": {},
    "one-shot": _ONE_SHOT,
    **{search: {"search": search} for search in CHEAP_SEARCHES},
    "short by movement": {"search": "short", "prune_by": "movement"},
    "random-by-degree": _ONE_SHOT | {"prune_by": "random-by-degree"},
    "random": _ONE_SHOT | {"prune_by": "random"},
}
