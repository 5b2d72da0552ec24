"""A finished run, opened again: its table, its log, and its tickets, each read from disk when it is asked for.

    run = lthjax.load_run("runs/mine")
    run.table()                                    # results.csv as a DataFrame
    run.tickets[7].masks.user                      # [M, F] bool
    run.sparsest_winner.recommend([user_id], k=10)

A folder of several seeds answers the same; `run.seeds[3]` is one of them.
A run tells what stood in its folder when it was first looked at; of a run that is still at work that is the finished
part, and `load_run` called again shows what came since.
"""

import dataclasses
import functools
import html
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lthjax import metric_names
from lthjax.data import resolve
from lthjax.data.split import Split
from lthjax.errors import CheckpointError, DataError, LthjaxError, SettingsError
from lthjax.evaluation.verdict import sparsest_winner
from lthjax.exploration.ticket import FoundTicket, LevelOfSeeds
from lthjax.model.backbones import Backbone
from lthjax.runtime import files
from lthjax.settings import Settings, from_record
from lthjax.tickets import extension, identity, report, seeds
from lthjax.tickets import ticket as ticketing
from lthjax.tickets.log import read_log
from lthjax.tickets.places import seed_folders, ticket_levels, ticket_place
from lthjax.tickets.result import Result
from lthjax.tickets.ticket import Ticket, load_ticket

if TYPE_CHECKING:
    import pandas as pd

# What results.csv must have; metrics and whatever else stands there are numbers unless named here.
_COLUMNS = {
    **{"level": "int64", "sparsity": "float64", "num_kept": "int64"},
    **{"best_epoch": "int64", "epochs": "int64", "seconds": "float64", "verdict": "str"},
}
_TEXT = ("verdict", "selection", "settings")


def load_run(folder: str | Path, data: Any = None, backbone: Backbone | None = None) -> "Run | SeedRuns":
    """Open a run folder; nothing is read yet.

    Args:
      folder: what `find_tickets` was given as `out`, or `python -m experiments.find_tickets` left under runs/.
      data: what the tickets were found on, as in `find_tickets`; by default what the run's settings name. Wanted where
        the data were given in code, or lie elsewhere now.
      backbone: that the tickets were found with, where it was given in code.

    Returns:
      The run; or, of a folder with runs of several seeds, all of them.

    Raises:
      CheckpointError: there is no run. What is damaged in it is told when it is asked for.
    """
    folder = Path(folder)
    if of_seeds := seed_folders(folder):
        return SeedRuns(folder, {seed: Run(path, data, backbone) for seed, path in of_seeds.items()})
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder}: wanted a run folder, which has a config.json; there is none.")
    return Run(folder, data, backbone)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Run:
    """One run of `find_tickets`, on disk.

    Attributes:
      path: its folder.
      data: what it was found on, or None for what its settings name.
      backbone: that it was found with, or None for what its settings name.
    """

    path: Path
    data: Any = None
    backbone: Backbone | None = None

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """All of config.json: settings, versions, device, commit, what the data are."""
        path = self.path / "config.json"
        config = files.read_json(path)
        try:
            _ = config["settings"].keys(), config["data"]["name"], config["data"]["fingerprint"]
        except (KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{path} is missing or damaged ({error}).") from error
        return config

    @functools.cached_property
    def settings(self) -> Settings:
        """The settings that the run was made with."""
        try:
            return from_record(self.config["settings"])
        except LthjaxError as error:
            raise CheckpointError(f"{self.path / 'config.json'}: {error}") from error

    @functools.cached_property
    def split(self) -> Split:
        """Train, validation and test part that the tickets were found on.

        Raises:
          DataError: the data are not at hand, or are not those of the run.
        """
        return resolve.split_of(self.data, self.settings, self.config["data"]["fingerprint"], str(self.path))

    @functools.cached_property
    def _result_of(self) -> Callable[[int], Result]:
        """The result of a level, read once from its ticket, whose arrays are not kept."""
        return functools.cache(lambda level: ticketing.result(self._ticket(level)))

    def _ticket(self, level: int) -> Ticket:
        """The ticket of a level; one that was made before the run was added to has the settings of the run."""
        ticket = load_ticket(ticket_place(self.path, level))
        return extension.as_of(ticket, self.settings) if self.config.get("extended") else ticket

    @functools.cached_property
    def _results(self) -> "pd.DataFrame":
        import pandas as pd

        levels = ticket_levels(self.path)
        kept = _read_results(self.path / "results.csv", strict=not levels)
        if not levels:  # a table that was kept without its tickets
            return kept
        rows = [self._result_of(level).row() for level in levels]
        if not _says_the_same(kept, rows):
            warnings.warn(f"{self.path / 'results.csv'} is not what the tickets say: these count.", stacklevel=2)
        return _typed(pd.DataFrame(rows).replace("", np.nan))

    def table(self) -> "pd.DataFrame":
        """One row per finished level, as the tickets say it, NaN where nothing was measured."""
        return self._results.copy()

    def log(self) -> "pd.DataFrame":
        """log.jsonl: one row per evaluation of every level, the unfinished one too; empty before the first."""
        import pandas as pd

        return pd.DataFrame(read_log(self.path))

    @functools.cached_property
    def tickets(self) -> tuple[FoundTicket, ...]:
        """The finished levels, the dense model first: `run.tickets[7]` is level 7, `run.tickets[-1]` the sparsest.

        A ticket that was looked at stays in memory as long as the run.
        """

        def found(row: Mapping[str, Any]) -> FoundTicket:
            return FoundTicket(row, lambda: self._ticket(row["level"]), lambda: self.split, self.backbone)

        return tuple(found(row) for row in self._results.to_dict("records"))

    @property
    def sparsest_winner(self) -> FoundTicket | None:
        """The sparsest winning ticket, or None."""
        best = sparsest_winner(self._results.to_dict("records"))
        return None if best is None else next(found for found in self.tickets if found.level == best["level"])

    def results(self, num_levels: int | None = None) -> list[Result]:
        """What tables and statistics need of the first levels, of all by default; arrays are not kept."""
        levels = self._results["level"].tolist()[:num_levels]
        return [self._result_of(level) for level in levels]

    def _title(self) -> str:
        done, all_levels = len(self._results), self.settings.num_levels + 1
        is_own = "search" in self.config.get("given", {})  # it yields as many levels as it likes
        levels = f"{done} levels" if done == all_levels or is_own else f"{done} of {all_levels} levels so far"
        best = self.sparsest_winner
        unsure = " (?)" if best and self.tickets[0].row.get("cut_short") else ""  # against an unfinished dense model
        winner = (
            f"sparsest winner{unsure} level {best.level}, {best.sparsity:.1%} pruned" if best else "no winning ticket"
        )
        about = f"{self.config['data']['name']}, {self.settings.model}, F = {self.settings.dim}"
        label = self.config.get("optimizer_label")
        about = ", ".join([about, *report.unusual(self.settings), *([f"optimizer {label}"] if label else [])])
        return f"{self.path}: {about}; {levels}, {winner}"

    def __repr__(self) -> str:
        """One line."""
        return f"Run({self._title()})"

    def _repr_html_(self) -> str:
        """The line and the table, for notebooks."""
        return _html(self._title(), self._results)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class SeedRuns:
    """Runs that differ in their seed only; what `Run` answers, of all of them: `runs.seeds[0]` is one.

    Levels are those that every seed has finished.

    Attributes:
      path: the folder that holds seed_0, seed_1, ...
      seeds: seed -> its run, ascending.
    """

    path: Path
    seeds: Mapping[int, Run]

    @functools.cached_property
    def _results(self) -> "pd.DataFrame":
        import pandas as pd

        runs = self.results()
        return pd.DataFrame(seeds.combine(runs)) if runs[0] else _no_results()

    def results(self) -> list[list[Result]]:
        """What tables and statistics need of each seed, level by level; arrays are not kept."""
        _ = self.config  # what is no repetition of one run has no mean
        num_levels = min(len(run.tickets) for run in self.seeds.values())
        return [run.results(num_levels) for run in self.seeds.values()]

    @property
    def _first(self) -> Run:
        return next(iter(self.seeds.values()))

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """The config.json of the first run, of the data and settings that all were made with.

        Raises:
          DataError: they are not on one split.
          SettingsError: they differ in more than their seed.
        """
        of_first = self._first.config
        for seed, run in self.seeds.items():
            if run.config["data"]["fingerprint"] != of_first["data"]["fingerprint"]:
                raise DataError(f"{self.path}: wanted one split; that of seed {seed} is another.")
            if change := identity.apart(of_first, run.config):
                raise SettingsError(
                    f"{self.path}: wanted runs that differ in their seed alone; that of seed {seed} has "
                    f"{change.name} {change.now}, the first {change.was}. lthjax.load_run reads each by itself."
                )
        return of_first

    @property
    def settings(self) -> Settings:
        """The settings that the runs were made with; the seed among them is the first one."""
        return self._first.settings

    @property
    def split(self) -> Split:
        """Train, validation and test part that all tickets were found on.

        Raises:
          DataError: the data are not at hand, or are not those of the runs.
        """
        _ = self.config
        return self._first.split

    def table(self) -> "pd.DataFrame":
        """One row a level: means, standard deviations, verdicts over users and seeds."""
        return self._results.copy()

    def log(self) -> "pd.DataFrame":
        """The logs of all seeds, one after the other, with a column `seed` before the others."""
        import pandas as pd

        logs = {seed: run.log() for seed, run in self.seeds.items()}
        logs = [log.assign(seed=seed)[["seed", *log.columns]] for seed, log in logs.items() if len(log)]
        return pd.concat(logs, ignore_index=True) if logs else pd.DataFrame()

    @functools.cached_property
    def tickets(self) -> tuple[LevelOfSeeds, ...]:
        """The levels, the dense models first: row, metrics and verdict are over all seeds, arrays the first one's."""

        def level(row: Mapping[str, Any]) -> LevelOfSeeds:
            of_seeds = {seed: run.tickets[row["level"]] for seed, run in self.seeds.items()}
            first = of_seeds[next(iter(of_seeds))]
            return LevelOfSeeds(row, lambda: first.ticket, lambda: self.split, self._first.backbone, of_seeds)

        return tuple(level(row) for row in self._results.to_dict("records"))

    @property
    def sparsest_winner(self) -> LevelOfSeeds | None:
        """The sparsest level that wins over users and seeds, or None."""
        best = sparsest_winner(self._results.to_dict("records"))
        return None if best is None else next(found for found in self.tickets if found.level == best["level"])

    def _title(self) -> str:
        return f"{self.path}: seeds {', '.join(map(str, self.seeds))}; {len(self._results)} levels of all of them"

    def __repr__(self) -> str:
        """One line."""
        return f"SeedRuns({self._title()})"

    def _repr_html_(self) -> str:
        """The line and the table, for notebooks."""
        return _html(self._title(), self._results)


def _read_results(path: Path, strict: bool) -> "pd.DataFrame":
    """results.csv with a dtype for each column; no rows where there is none, or, unless `strict`, a damaged one."""
    import pandas as pd

    if not path.exists():
        return _no_results()
    try:
        return _typed(pd.read_csv(path, dtype=dict.fromkeys(_TEXT, "str")))
    except (OSError, ValueError, KeyError) as error:  # pandas' own errors are ValueErrors
        if strict:
            raise CheckpointError(f"{path} is damaged ({str(error).strip().splitlines()[0]}).") from error
        return _no_results()


def _typed(table: "pd.DataFrame") -> "pd.DataFrame":
    """A table of results with a dtype for each column."""
    return table.astype({name: "float64" for name in table.columns if name not in _TEXT} | _COLUMNS)


def _says_the_same(kept: "pd.DataFrame", rows: list[dict[str, Any]]) -> bool:
    """Whether results.csv has the values of the tickets, as far as it goes: of a run at work it may be behind."""
    if not 0 < len(kept) <= len(rows):
        return False
    main = metric_names.main_of(rows[0])
    if main not in kept:
        return False
    told = kept[["level", main, "verdict"]].itertuples(index=False, name=None)
    return all(
        (level, verdict) == (row["level"], row["verdict"]) and abs(value - row[main]) < 1e-6
        for (level, value, verdict), row in zip(told, rows, strict=False)
    )


def _no_results() -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in _COLUMNS.items()})


def _html(title: str, results: "pd.DataFrame") -> str:
    text = f"<b>{html.escape(title)}</b>"
    if len(results):
        text += report.table(results.to_dict("records")).to_html(index=False, border=0)
    return text
