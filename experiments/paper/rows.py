"""Rows of results: how they are made of several seeds, written as Markdown, and left on disk.

A row is a dict from column to value, as `results.csv` has it. For the modules beside this one; it is no command.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from experiments.paper import scales
from experiments.paper.scales import Study
from lthjax import plots
from lthjax.evaluation.verdict import WINNING
from lthjax.runtime import files
from lthjax.tickets import report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lthjax.tickets.result import Result

Row = dict[str, Any]


def rows_of_levels(runs: "Sequence[Sequence[Result]]") -> list[Row]:
    """One row per level: means over the seeds with standard deviations, or those of the only one.

    Args:
      runs: the results of each seed, the dense model first.
    """
    from lthjax.tickets import seeds

    return seeds.combine(runs) if len(runs) > 1 else [result.row() for result in runs[0]]


def over_seeds(numbers: Sequence[Mapping[str, float]]) -> Row:
    """Means of the seeds' numbers by name, with standard deviations as `..._sd`; those of the only seed as they are."""
    if len(numbers) == 1:
        return dict(numbers[0])
    row: Row = {}
    for name in numbers[0]:
        values = [float(of_seed[name]) for of_seed in numbers]
        row |= {name: statistics.fmean(values), f"{name}_sd": statistics.stdev(values)}
    return row


def grouped(rows: Iterable[Row], *columns: str) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by what they have in some columns, in the order in which that comes first."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in columns), []).append(row)
    return groups


def same_columns(rows: Sequence[Row]) -> list[Row]:
    """Rows with the columns of all of them, empty where a row has no value."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name, "") for name in names} for row in rows]


def nearest_row(rows: Sequence[Row], sparsity: float, within: float = 0.005) -> Row | None:
    """The row whose sparsity is nearest to a given one.

    Args:
      rows: of one variant.
      sparsity: the one that is wanted.
      within: None is given where even the nearest is further off; by default half a percent.
    """
    best = min(rows, key=lambda row: abs(row["sparsity"] - sparsity), default=None)
    return best if best is not None and abs(best["sparsity"] - sparsity) <= within else None


def in_digits(row: Row | None, metric: str) -> str | None:
    """A metric as text, with its standard deviation over seeds where there is one; None where there is no row."""
    if row is None:
        return None
    deviation = row.get(f"{metric}_sd")
    return f"{row[metric]:.4f}" + ("" if deviation is None else f" ± {deviation:.4f}")


def bold_if_winning(row: Row | None, metric: str, dense: Row) -> str | None:
    """`in_digits`, in bold where the row is a winning ticket, as in the paper; a ? where that is not sure.

    Args:
      row: of a ticket, or None.
      metric: its column.
      dense: what the ticket is compared with; the ? stands where it was cut short.
    """
    text = in_digits(row, metric)
    if row is None or row.get("verdict") not in WINNING:
        return text
    return f"{text} ?" if dense.get("cut_short") else f"**{text}**"


def is_cut_short(rows: Iterable[Mapping[str, Any]]) -> bool:
    """Was any of the dense models cut short, that tickets are compared with?"""
    return any(row.get("dense_cut_short") or (row.get("level") == 0 and row.get("cut_short")) for row in rows)


def markdown(header: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; what is None stays empty."""
    cells = [header, ["---"] * len(header), *([("" if cell is None else cell) for cell in line] for line in lines)]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in cells)


def with_warning(text: str, rows: Iterable[Mapping[str, Any]]) -> str:
    """The text under a table, with warnings where rows were chosen on the test part, or dense models were cut short."""
    rows = list(rows)
    warnings = [report.TEST_WARNING] if any(row["selection"] == "test" for row in rows) else []
    if is_cut_short(rows):
        warnings.append(report.CUT_SHORT)
    return "\n".join([text, *warnings])


def write_study(
    study: Study, name: str, rows: Sequence[Row], text: str, draw: "Callable[[Figure], None] | None"
) -> None:
    """Leave `results.csv`, `table.md` and the figure of a study in its folder, and print the table.

    Args:
      study: the flags.
      name: of the figure or table.
      rows: all of them, for the csv.
      text: the Markdown.
      draw: fills the figure; None where there is nothing to draw.
    """
    write_results(scales.results_folder(study, name), rows, text, draw, study.picture)


def write_results(
    folder: Path,
    rows: Sequence[Row],
    text: str,
    draw: "Callable[[Figure], None] | None",
    picture: plots.Picture = "png",
) -> None:
    """The same in any folder.

    Args:
      folder: where to.
      rows: all of them, for the csv.
      text: the Markdown.
      draw: fills the figure; None where there is nothing to draw.
      picture: format of the figure.
    """
    files.write_table(folder / "results.csv", list(rows))
    files.write_text(folder / "table.md", text + "\n")
    for kind in get_args(plots.Picture):  # one of other rows, or in another format
        folder.joinpath(f"figure.{kind}").unlink(missing_ok=True)
    if draw is not None:
        plots.save(folder / f"figure.{picture}", draw)
    print(text)
    print(f"results: {folder}")
