"""Where the parts of a run folder lie; a folder of several seeds holds a run for each."""

import re
from pathlib import Path

_SEED = re.compile(r"seed_(\d+)")


def ticket_place(folder: Path, level: int) -> Path:
    """Where the ticket of a level lies in a run folder."""
    return folder / "tickets" / f"level_{level:02d}"


def ticket_levels(folder: Path) -> list[int]:
    """Levels whose tickets lie in a run folder, ascending."""
    names = (path.name.removeprefix("level_") for path in (folder / "tickets").glob("level_*") if path.is_dir())
    return sorted(int(name) for name in names if name.isdecimal())


def is_of_seed(folder: Path) -> bool:
    """Whether a run folder has the name of one of several seeds."""
    return _SEED.fullmatch(folder.name) is not None


def seed_folders(folder: Path) -> dict[int, Path]:
    """Seed -> its run, ascending, in a folder of several seeds; whatever else lies there does not count."""
    named = ((_SEED.fullmatch(path.name), path) for path in folder.glob("seed_*") if path.is_dir())
    return dict(sorted((int(seed[1]), path) for seed, path in named if seed))


def runs_in(folder: Path) -> list[Path]:
    """A run folder, or a folder of several seeds and those in it."""
    return [folder, *seed_folders(folder).values()]
