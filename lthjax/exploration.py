"""A finished run, opened again: its table, its log, and its tickets, each read from disk when it is asked for.

    run = lthjax.load_run("runs/mine")
    run.table()                                    # results.csv as a DataFrame
    run.tickets[7].masks.user                      # [M, F] bool
    run.sparsest_winner.recommend([user_id], k=10)

A run tells what stood in its folder when it was first looked at; of a run that is still at work that is the finished
part, and `load_run` called again shows what came since.

Letters: M users, N items, F dimensions, B ids asked for, K places, U users with test items.
"""

import dataclasses
import functools
import html
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optax

from lthjax import evaluate, exporting, folding, imp, jobs, report, runs, seeds, tickets
from lthjax import masks as masking
from lthjax.compressed import CompressedTicket
from lthjax.embeddings import Embeddings
from lthjax.errors import CheckpointError, DataError, LthjaxError
from lthjax.evaluate import RankingMetrics
from lthjax.recommend import Ranked
from lthjax.settings import Settings
from lthjax.splits import Split
from lthjax.tickets import Record, Ticket
from lthjax.verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd

# What results.csv must have; metrics and whatever else stands there are numbers unless named here.
_COLUMNS = {
    **{"level": "int64", "sparsity": "float64", "num_kept": "int64"},
    **{"best_epoch": "int64", "epochs": "int64", "seconds": "float64", "verdict": "str"},
}
_TEXT = ("verdict", "selection", "settings")
_OF_DATA = ("data", "format", "columns", "min_rating", "items_after_users", "split", "split_seed")


def load_run(folder: str | Path, data: Any = None) -> "Run | SeedRuns":
    """Open a run folder; nothing is read yet.

    Args:
      folder: what `find_tickets` was given as `out`, or `python -m experiments.find_tickets` left under runs/.
      data: what the tickets were found on, as in `find_tickets`; by default what the run's settings name. Wanted where
        the data were given in code, or lie elsewhere now.

    Returns:
      The run; or, of a folder with runs of several seeds, all of them.

    Raises:
      CheckpointError: there is no run. What is damaged in it is told when it is asked for.
    """
    folder = Path(folder)
    of_seeds = {int(found[1]): place for place in folder.glob("seed_*") if (found := _SEED.fullmatch(place.name))}
    if of_seeds:
        return SeedRuns(folder, {seed: Run(of_seeds[seed], data) for seed in sorted(of_seeds)})
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder}: wanted a run folder, which has a config.json; there is none.")
    return Run(folder, data)


_SEED = re.compile(r"seed_(\d+)")


def explore(ticket: Ticket, data: Any = None) -> "FoundTicket":
    """A ticket in memory, as those of a run are: to recommend with, to evaluate, to compare.

    Args:
      ticket: of `find_tickets`, `retrain` or `load_ticket`.
      data: what it was found or trained on, as in `find_tickets`; by default what its settings name.
    """
    split = functools.cache(lambda: _checked(data, tickets.settings_of(ticket), ticket.fingerprint, "the ticket"))
    return FoundTicket(tickets.row(ticket), lambda: ticket, split)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Run:
    """One run of `find_tickets`, on disk.

    Attributes:
      path: its folder.
      data: what it was found on, or None for what its settings name.
    """

    path: Path
    data: Any = None

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """All of config.json: settings, versions, device, commit, what the data are."""
        place = self.path / "config.json"
        try:
            config = json.loads(place.read_text(encoding="utf-8"))
            _ = config["settings"].keys(), config["data"]["name"], config["data"]["fingerprint"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{place} is missing or damaged ({error}).") from error
        return config

    @functools.cached_property
    def settings(self) -> Settings:
        """The settings that the run was made with."""
        known = {field.name for field in dataclasses.fields(Settings)}
        try:
            return Settings(**{name: value for name, value in self.config["settings"].items() if name in known})
        except LthjaxError as error:
            raise CheckpointError(f"{self.path / 'config.json'}: {error}") from error

    @functools.cached_property
    def split(self) -> Split:
        """Train, validation and test part that the tickets were found on.

        Raises:
          DataError: the data are not at hand, or are not those of the run.
        """
        return _checked(self.data, self.settings, self.config["data"]["fingerprint"], str(self.path))

    @functools.cached_property
    def _results(self) -> "pd.DataFrame":
        return _read_results(self.path / "results.csv")

    def table(self) -> "pd.DataFrame":
        """results.csv: one row a finished level, numbers as numbers, NaN where nothing was measured."""
        return self._results.copy()

    def log(self) -> "pd.DataFrame":
        """log.jsonl: one row an evaluation of every level, the unfinished one too; empty before the first."""
        import pandas as pd

        try:
            return pd.DataFrame(runs.read_log(self.path))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.path / 'log.jsonl'} is damaged ({error}).") from error

    @functools.cached_property
    def tickets(self) -> "tuple[FoundTicket, ...]":
        """The finished levels, the dense model first: `run.tickets[7]` is level 7, `run.tickets[-1]` the sparsest.

        A ticket that was looked at stays in memory as long as the run.
        """

        def found(row: Mapping[str, Any]) -> FoundTicket:
            place = runs.ticket_place(self.path, row["level"])
            return FoundTicket(row, lambda: imp.load_ticket(place), lambda: self.split)

        return tuple(found(row) for row in self._results.to_dict("records"))

    @property
    def sparsest_winner(self) -> "FoundTicket | None":
        """The sparsest winning ticket, or None."""
        best = report.sparsest_winner(self._results.to_dict("records"))
        return None if best is None else next(found for found in self.tickets if found.level == best["level"])

    def records(self, num_levels: int | None = None) -> list[Record]:
        """What tables and statistics need of the first levels, of all by default; arrays are not kept."""
        levels = self._results["level"].tolist()[:num_levels]
        return [tickets.record(imp.load_ticket(runs.ticket_place(self.path, level))) for level in levels]

    def _title(self) -> str:
        done, all_levels = len(self._results), self.settings.num_levels + 1
        levels = f"{done} levels" if done == all_levels else f"{done} of {all_levels} levels so far"
        best = self.sparsest_winner
        winner = f"sparsest winner level {best.level}, {best.sparsity:.1%} pruned" if best else "no winning ticket"
        about = f"{self.config['data']['name']}, {self.settings.model}, F = {self.settings.dim}"
        return f"{self.path}: {about}; {levels}, {winner}"

    def __repr__(self) -> str:
        """One line."""
        return f"Run({self._title()})"

    def _repr_html_(self) -> str:
        """The line and the table, for notebooks."""
        return _html(self._title(), self._results)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class SeedRuns:
    """Runs that differ in their seed only: `runs.seeds[0].tickets[7]`.

    Attributes:
      path: the folder that holds seed_0, seed_1, ...
      seeds: seed -> its run, ascending.
    """

    path: Path
    seeds: Mapping[int, Run]

    @functools.cached_property
    def _results(self) -> "pd.DataFrame":
        import pandas as pd

        num_levels = min(len(run.tickets) for run in self.seeds.values())  # those that every seed has finished
        if not num_levels:
            return _no_results()
        return pd.DataFrame(seeds.combine([run.records(num_levels) for run in self.seeds.values()]))

    def table(self) -> "pd.DataFrame":
        """One row a level that every seed has finished: means, standard deviations, verdicts over users and seeds."""
        return self._results.copy()

    def _title(self) -> str:
        return f"{self.path}: seeds {', '.join(map(str, self.seeds))}; {len(self._results)} levels of all of them"

    def __repr__(self) -> str:
        """One line."""
        return f"SeedRuns({self._title()})"

    def _repr_html_(self) -> str:
        """The line and the table, for notebooks."""
        return _html(self._title(), self._results)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class FoundTicket:
    """A ticket of a run: what its table says is there at once, the arrays are read at the first look at one of them.

    Attributes:
      row: its row of results.csv.
    """

    row: Mapping[str, Any]
    _load: Callable[[], Ticket]
    _split: Callable[[], Split]

    @property
    def level(self) -> int:
        """Prunings so far."""
        return self.row["level"]

    @property
    def sparsity(self) -> float:
        """Share of entries pruned."""
        return self.row["sparsity"]

    @functools.cached_property
    def ticket(self) -> Ticket:
        """All of it, as `find_tickets` yielded it.

        Raises:
          CheckpointError: it is not there, or damaged.
        """
        return self._load()

    @property
    def settings(self) -> Settings:
        """The settings that it was found with."""
        return tickets.settings_of(self.ticket)

    @property
    def masks(self) -> Embeddings:
        """Which entries are kept: user [M, F] and item [N, F] bool."""
        return self.ticket.masks

    @property
    def start(self) -> Embeddings:
        """Layer-0 values before the first step, 0 where pruned."""
        return self.ticket.start

    @property
    def trained(self) -> Embeddings:
        """Layer-0 values of the best epoch, 0 where pruned."""
        return self.ticket.trained

    @property
    def metrics(self) -> dict[str, float]:
        """Means over users of the test part, and as `valid_...` of the validation part."""
        return self.ticket.metrics

    @property
    def verdict(self) -> Verdict:
        """Against the dense model of its run."""
        return self.ticket.verdict

    @functools.cached_property
    def _final(self) -> Embeddings:
        if self.settings.model == "mf":
            return self.trained  # so that no data are needed
        return exporting.final_embeddings(self.ticket, self._split())

    @functools.cached_property
    def _serving(self) -> CompressedTicket:
        return exporting.serving(self.ticket, self._split())

    def embeddings(self) -> Embeddings:
        """Final embeddings, whose inner products are the scores: MF's table, LightGCN's propagated layers."""
        return self._final

    def kept_per_row(self) -> Embeddings:
        """Entries kept of every user [M] and of every item [N]."""
        return masking.kept_per_row(self.masks)

    def compare(self, other: "FoundTicket | Ticket") -> masking.Overlap:
        """How much of the masks two tickets have in common.

        Raises:
          DataError: they are of different sizes.
        """
        one, two = ([part.shape for part in masks] for masks in (self.masks, other.masks))
        if one != two:
            raise DataError(f"wanted a ticket with masks of the same shapes, {one}; got {two}.")
        return masking.overlap(self.masks, other.masks)

    def retrain(
        self,
        data: Any = None,
        *,
        optimizer: optax.GradientTransformation | None = None,
        show_progress: bool | None = None,
        **changes: Any,
    ) -> Ticket:
        """Train it again from where it started, as `lthjax.retrain`; `explore` makes of that what this is.

        Args:
          data: as in `find_tickets`; by default what it was found on.
          optimizer: any Optax transformation; by default Adam.
          show_progress: progress bars; None shows them on a terminal.
          **changes: single settings, such as `model="lightgcn"`.
        """
        if data is None and not changes.keys() & set(_OF_DATA):
            data = self._split()
        return imp.retrain(self.ticket, data, optimizer=optimizer, show_progress=show_progress, **changes)

    def evaluate(self, data: Any = None, ks: tuple[int, ...] = (20,)) -> RankingMetrics:
        """Recall@K and NDCG@K of every user with test items; `.means()` are the published numbers.

        Args:
          data: another split of the same users and items, whose test part counts and whose other parts are left out of
            the ranking (LightGCN propagates over its training part); by default the ticket's own.
          ks: places.

        Raises:
          DataError: the data do not have the ticket's users and items.
        """
        if data is None:
            return evaluate.evaluate(self._final, jobs.test_task(self._split(), self.settings), ks)
        split = _other(self._split(), data, self.settings)
        final = exporting.final_embeddings(self.ticket, split)
        return evaluate.evaluate(final, jobs.test_task(split, self.settings), ks)

    def fold_in(self, interactions: Any, side: folding.Side = "user", **options: Any) -> folding.Folded:
        """Give new users, or items, an embedding inside the ticket; as `lthjax.fold_in`, on the data of the run."""
        return folding.fold_in(self.ticket, self._split(), interactions, side, **options)

    def recommend(self, user_ids: Any, k: int = 20, exclude_seen: bool = True, items: Any = None) -> Ranked:
        """The k items with the highest scores for each user, by original ids.

        Args:
          user_ids: [B] original ids of users, or one.
          k: places.
          exclude_seen: leave out what the user has in the training and validation part.
          items: original ids of the only items to rank; all by default.

        Returns:
          Ids [B, K] and scores [B, K], best first.

        Raises:
          DataError: ids that the data do not have.
        """
        return self._serving.recommend(user_ids, k, exclude_seen, items)

    def similar_items(self, item_ids: Any, k: int = 20) -> Ranked:
        """The k items with the highest cosine to each item, itself left out, by original ids."""
        return self._serving.similar_items(item_ids, k)

    def similar_users(self, user_ids: Any, k: int = 20) -> Ranked:
        """The k users with the highest cosine to each user, themselves left out, by original ids."""
        return self._serving.similar_users(user_ids, k)

    def export(self, path: str | Path, **options: Any) -> Path:
        """Write one small file that `lthjax.load_compressed` serves without JAX; options as in `lthjax.export`."""
        return exporting.export(self.ticket, self._split(), path, **options)

    def __repr__(self) -> str:
        """One line, of the table alone."""
        return f"FoundTicket({self._title()})"

    def _title(self) -> str:
        scores = ", ".join(f"{name} {self.row[name]:.4f}" for name in ("recall@20", "ndcg@20") if name in self.row)
        kept = f"{self.row['num_kept']:,} entries kept"
        return f"level {self.level}, {self.sparsity:.1%} pruned, {kept}, {scores}, {self.row['verdict']}"

    def _repr_html_(self) -> str:
        """The line, for notebooks."""
        return f"<b>Ticket</b> {html.escape(self._title())}"


def _checked(data: Any, settings: Settings, fingerprint: str, whose: str) -> Split:
    """The split of a run or ticket, with its fingerprint checked."""
    _, split = jobs.settle(data, settings, {})
    if split.fingerprint != fingerprint:
        raise DataError(
            f"{split.name}: wanted the data and the split of {whose}, with fingerprint {fingerprint}; "
            f"got {split.fingerprint}."
        )
    return split


def _other(own: Split, data: Any, settings: Settings) -> Split:
    """Another split, with the same users and items."""
    _, split = jobs.settle(data, settings, {})
    for what in ("user_ids", "item_ids"):
        wanted, came = getattr(own, what), getattr(split, what)
        if not np.array_equal(wanted, came):
            raise DataError(
                f"{split.name}: wanted the {what.removesuffix('_ids')}s of {own.name}, {len(wanted):,} of them; "
                f"got {len(came):,}, or others."
            )
    return split


def _read_results(place: Path) -> "pd.DataFrame":
    """results.csv with a dtype for each column; no rows where there is none yet."""
    import pandas as pd

    if not place.exists():
        return _no_results()
    try:
        table = pd.read_csv(place, dtype=dict.fromkeys(_TEXT, "str"))
        return table.astype({name: "float64" for name in table.columns if name not in _TEXT} | _COLUMNS)
    except (OSError, ValueError, KeyError) as error:  # pandas' own errors are ValueErrors
        raise CheckpointError(f"{place} is damaged ({str(error).strip().splitlines()[0]}).") from error


def _no_results() -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in _COLUMNS.items()})


def _html(title: str, results: "pd.DataFrame") -> str:
    text = f"<b>{html.escape(title)}</b>"
    if len(results):
        text += report.table(results.to_dict("records")).to_html(index=False, border=0)
    return text
