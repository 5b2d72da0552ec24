r"""Which of several runs is better: as one table, one picture, and ticket against ticket on the same test users.

    python -m experiments.compare runs/adam runs/lion
    python -m experiments.compare runs/mf runs/mf-seeds runs/lightgcn --out reports/three --latex

Reads run folders of find_tickets, those of several seeds as one run; trains nothing. First it says of each run every
setting that is not the same in all, then what came of it, then how every other run differs from the first at equal
sparsity. Runs on another split stand apart. --out leaves comparison.csv, differences.csv and recall_vs_sparsity.png
there, with --latex also comparison.tex.
"""

import dataclasses
import importlib.util
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

import lthjax
from experiments import cli
from lthjax import plots
from lthjax.errors import DataError, SettingsError
from lthjax.runtime import files
from lthjax.tickets import report

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The runs, and where the comparison goes."""

    runs: tyro.conf.Positional[tuple[str, ...]] = ()
    """Run folders of find_tickets; of several seeds, the folder that holds them."""
    out: str | None = None
    """Folder for tables and picture; without one they are printed only."""
    latex: bool = False
    """Print the table as LaTeX too (needs jinja2)."""

    def __post_init__(self):
        if self.latex and importlib.util.find_spec("jinja2") is None:
            raise SettingsError('--latex: wanted jinja2, which pandas writes LaTeX with; pip install "lthjax[latex]".')


def main(config: Config) -> "pd.DataFrame":
    """Print and leave the comparison; returns the table of all runs and levels."""
    if not config.runs:
        raise SettingsError("RUNS: wanted run folders of find_tickets; got none.")
    from lthjax.exploration import compare  # with it comes JAX

    named = compare.by_name(config.runs)
    groups = compare.on_one_split(named)
    if len(groups) > 1:
        print(compare.apart(groups))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*splits, whose numbers")  # just said
        table = lthjax.compare(named)
    for name, values in compare.differing(named).items():
        told = [f"{setting} {value}" for setting, value in values.items() if value is not None]
        print(f"{name}: {'; '.join(told) or 'as the others'}")
    rows = {name: named[name].table().to_dict("records") for name in named}
    panels, pairs, latex = {}, [], []
    for fingerprint, members in groups.items():
        of_group = {name: rows[name] for name in members}
        panels[title_of(named[members[0]], fingerprint, len(groups))] = of_group
        shown = readable(of_group)
        latex.append(shown)
        print(shown.to_string(index=False))
        pairs += pairs_of({name: named[name] for name in members})
    for pair in pairs:
        print(pair.to_string(index=False))
    if config.latex:
        latex = "\n".join(shown.to_latex(index=False, escape=True) for shown in latex)
        print(latex)
    if config.out:
        out = Path(config.out)
        files.write_table(out / "comparison.csv", blank(table))
        if pairs:
            import pandas as pd

            files.write_table(out / "differences.csv", blank(pd.concat(pairs)))
        if config.latex:
            files.write_text(out / "comparison.tex", latex)
        plots.save_comparison(panels, out / "recall_vs_sparsity.png")
        print(f"results: {out}")
    return table


def title_of(run: Any, fingerprint: str, number: int) -> str:
    """The title of a panel: data, and which split where there are several.

    Args:
      run: on the split.
      fingerprint: of the split.
      number: of splits.
    """
    return run.config["data"]["name"] + (f", split {fingerprint}" if number > 1 else "")


def readable(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> "pd.DataFrame":
    """Rows of runs written out for reading.

    Args:
      rows: run -> its rows, the dense level first.
    """
    import pandas as pd

    tables = [report.table(list(of_run)).drop(columns=["tied users", "dead rows"]) for of_run in rows.values()]
    for name, table in zip(rows, tables, strict=True):
        table.insert(0, "run", name)
    return pd.concat(tables, ignore_index=True).rename(columns={"search": "cost"})


def pairs_of(named: Mapping[str, Any]) -> "list[pd.DataFrame]":
    """Every other run against the first of those on one split; a line instead where they cannot be paired."""
    tables = []
    first, *others = named
    for other in others:
        try:
            table = lthjax.differences(named[first], named[other])
        except DataError as error:
            print(error)
            continue
        table.insert(0, "run", first)
        table.insert(1, "against", other)
        tables.append(table)
    return tables


def blank(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """Rows for a csv, empty where nothing is known."""
    return table.astype(object).where(table.notna(), "").to_dict("records")


if __name__ == "__main__":
    cli.run(main, Config, __doc__)
