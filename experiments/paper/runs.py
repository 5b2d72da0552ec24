"""Runs that figures and tables share: what one has trained, the others read.

All runs of a study lie under its `--out`, in folders that are named after their settings. Runs that differ in nothing
but how they prune take the same dense models. Called again, a study goes on where it was stopped. For the modules
beside this one; it is no command.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lthjax
from experiments.find_tickets import mark_of, results_by_seed
from experiments.paper import scales
from experiments.paper.rows import Row, rows_of_levels
from experiments.paper.scales import Study
from lthjax.pruning.schedule import roundings
from lthjax.settings import PruningSettings, Settings, values

if TYPE_CHECKING:
    from lthjax.data.split import Split
    from lthjax.tickets.result import Result
    from lthjax.tickets.ticket import Ticket


@dataclasses.dataclass(frozen=True)
class Runs:
    """The runs of one variant, one for each seed; trained when they are asked for, unless they are on disk."""

    study: Study
    settings: Settings  # data None says that the split was made in code
    split: "Split"

    @property
    def seeds(self) -> range:
        """The seeds that the runs differ in."""
        return range(self.settings.seed, self.settings.seed + self.study.seeds)

    @property
    def folder(self) -> Path:
        """Where the tickets lie; each seed has a folder in there (seed_0, ...), as in the others."""
        return self._folder("", self.settings)

    @property
    def dense_folder(self) -> Path:
        """Where the dense models lie."""
        return self._folder("dense-", dense_alone(self.settings))

    @property
    def rivals_folder(self) -> Path:
        """Where the results of other methods lie."""
        return self._folder("rivals-", self.settings)

    def _folder(self, kind: str, settings: Settings) -> Path:
        made = self.split.name if settings.data is None else None
        return Path(self.study.out) / "runs" / (kind + name_of(settings, made))

    def dense_models(self) -> "list[Ticket]":
        """The dense model of each seed, trained once for all that differ in how they prune."""
        settings = dense_alone(self.settings)
        return list(lthjax.find_tickets(self.split, settings=settings, out=self.dense_folder, seeds=self.study.seeds))

    def tickets(self) -> "Iterator[Ticket]":
        """The tickets, one at a time, of each seed in the order of its levels, the dense model first.

        Seeds may come one after the other or level by level, as in `lthjax.find_tickets`.
        """
        settings, split = self.settings, self.split
        data = split.name if settings.data is None else Path(settings.data).stem
        for note in roundings(settings, (split.num_users + split.num_items) * settings.dim):
            _print_once(f"{data}: {note}")
        dense = self.dense_models() if settings.rewind_epoch is None else ()
        yield from lthjax.find_tickets(split, settings=settings, out=self.folder, seeds=self.study.seeds, dense=dense)

    def results(self) -> "list[list[Result]]":
        """What tables need of each seed's tickets, the dense model first."""
        return results_by_seed(self.tickets())

    def rows(self) -> list[Row]:
        """One row per level, the dense one first: means over the seeds."""
        return rows_of_levels(self.results())


_print_once = functools.cache(print)  # a study asks for the same sparsities with every variant


def runs_of(study: Study, data: str, model: str, **changes: Any) -> Runs:
    """The runs of a scale's settings on its own.

    Args:
      study: the flags.
      data: name or path.
      model: backbone.
      **changes: single settings.
    """
    settings = scales.settings_of(study, data, model, **changes)
    return Runs(study, settings, lthjax.load_split(None, settings))


def rows_of_variants(
    study: Study, data: str, model: str, variants: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[Row]]:
    """Rows of each variant on one split; an empty set of changes is iterative pruning as the scale has it.

    Args:
      study: the flags.
      data: name or path.
      model: backbone.
      variants: name -> changed settings.
    """
    settings = {name: scales.settings_of(study, data, model, **changes) for name, changes in variants.items()}
    split = lthjax.load_split(None, next(iter(settings.values())))
    return {name: Runs(study, of_variant, split).rows() for name, of_variant in settings.items()}


def name_of(settings: Settings, made: str | None = None) -> str:
    """A folder's name: data, model, and a mark of all settings but the seed, which has a folder of its own in there.

    Args:
      settings: of the runs.
      made: name of a split that was made in code; the settings name no data then.
    """
    data = settings.data if made is None else f"<{made}>".replace(" ", "-")  # as the mark has always been made
    chosen = values(settings, Settings) | {"data": data}
    del chosen["seed"]
    return f"{Path(data.strip('<>')).stem}-{settings.model}-{mark_of(chosen)}"


def dense_alone(settings: Settings) -> Settings:
    """The settings of a dense model that serves all that differ in how they prune, but for `prune_from`."""
    own = {
        "levels": 0,
        "prune_from": settings.prune_from,
        "rewind": "none",  # keeps the optimizer, which some rewind modes ask for
    }
    return dataclasses.replace(settings, **(values(PruningSettings(), PruningSettings) | own))


def kept_on_disk(folder: Path, make: "Callable[[], Result]") -> "Result":
    """The result that lies in a folder, or a new one, laid there."""
    from lthjax.runtime import checkpoint
    from lthjax.tickets.result import from_row

    if not folder.exists():
        result = make()
        facts = {name: getattr(result, name) for name in ("sparsity", "best_epoch", "metrics")}
        checkpoint.save(folder, result.per_user, {"row": result.row()} | facts)
    per_user, facts = checkpoint.load(folder)
    return from_row(facts["row"], facts["metrics"], per_user)
