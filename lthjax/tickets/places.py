"""Where the parts of a run folder lie; a folder of several seeds holds a run for each."""

from pathlib import Path


def ticket_place(folder: Path, level: int) -> Path:
    """Where the ticket of a level lies in a run folder."""
    return folder / "tickets" / f"level_{level:02d}"


def ticket_levels(folder: Path) -> list[int]:
    """Levels whose tickets lie in a run folder, ascending."""
    names = (path.name.removeprefix("level_") for path in (folder / "tickets").glob("level_*") if path.is_dir())
    return sorted(int(name) for name in names if name.isdecimal())


def runs_in(folder: Path) -> list[Path]:
    """A run folder, or a folder of several seeds and those in it."""
    return [folder, *sorted(place for place in folder.glob("seed_*") if place.is_dir())]
