r"""Which share of a recommender's embedding table can go without a loss?

    python -m experiments.find_tickets                      (bundled MovieLens, MF: under 2 minutes on 2 CPU cores)
    python -m experiments.find_tickets --model lightgcn
    python -m experiments.find_tickets --seeds 5
    python -m experiments.find_tickets --prune-parent dense                         (one-shot pruning, OMP)
    python -m experiments.find_tickets --prune-parent dense --prune-by random       (random pruning, RP)
    python -m experiments.find_tickets --sparsities 0.5,0.75
    python -m experiments.find_tickets --preset paper_code --data yelp2018 --model mf
    python -m experiments.find_tickets --data path/to/train.txt --levels 10 --out runs/mine

Trains the dense model, prunes its smallest weights, rewinds the rest to their first values, trains again, and so on.
Prints which tickets win, and leaves a run folder; the same command goes on where it was stopped.
"""

import dataclasses
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lthjax
from experiments import cli
from lthjax import plots, presets
from lthjax.errors import SettingsError
from lthjax.pruning.schedule import roundings
from lthjax.runtime import files
from lthjax.settings import Settings
from lthjax.tickets import report

if TYPE_CHECKING:
    from lthjax.data.split import Split
    from lthjax.tickets.ticket import Record


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Settings of the run, how often it is repeated, and where it is kept."""

    seeds: int = 1
    """Runs with seeds --seed, --seed + 1, ...: means, standard deviations, verdicts over users and seeds."""
    together: bool | None = None
    """Train the seeds as one program; by default on a GPU only."""
    out: str | None = None
    """Run folder; by default one under runs/ that is named after the settings."""

    def __post_init__(self):
        super().__post_init__()
        if self.seeds < 1:
            raise SettingsError(f"--seeds: wanted at least 1; got {self.seeds}.")


def main(config: Config) -> list[dict[str, Any]]:
    """Find tickets with each seed, print table and sentence, leave the picture; returns the rows of the table."""
    from lthjax.tickets import folder as runs
    from lthjax.tickets import seeds  # here: with them comes JAX, and --help does without

    settings = Settings(**{name: value for name, value in dataclasses.asdict(config).items() if name not in _OWN})
    out = Path(config.out or _default_out(config))
    split = lthjax.load_split(None, settings)
    for note in [*split.notes, *roundings(settings, (split.num_users + split.num_items) * settings.dim)]:
        print(note)
    if said := presets.conflicts(settings):
        print(said)
    print(f"run folder: {out}", flush=True)
    if config.seeds == 1:
        found = _find(split, settings, out)
        rows = [record.row for record in found[0]]
    else:
        several = runs.describe(settings, "adam", split)
        several["settings"] |= {"seeds": "several"}  # so that one run and several do not write over each other
        with runs.open_folder(out, several):
            found = _find(split, settings, out, seeds=config.seeds, together=config.together)
            rows = seeds.combine(found)
            files.write_table(out / "results.csv", rows)
    print(report.table(rows).to_string(index=False))
    print("\n".join([*report.remarks(rows), report.sentence(rows, len(found[0][0].per_user["recall@20"]))]))
    if settings.num_levels:
        low, high = seeds.sparsest_winner_interval(found)
        print(
            f"95% interval of the highest winning sparsity: {low:.1%} to {high:.1%} "
            f"({'users' if config.seeds == 1 else 'users and seeds'} drawn anew; 0.0% = none wins)."
        )
    title = f"{split.name}, {settings.model}, F = {settings.dim}"
    title += f", {config.seeds} seeds" if config.seeds > 1 else ""
    plots.save_recall_vs_sparsity(rows, out / "recall_vs_sparsity.png", title)
    return rows


def _find(split: "Split", settings: Settings, out: Path, **options: Any) -> "list[list[Record]]":
    """Records of each seed's tickets, dense one first; the tickets themselves lie in the run folder."""
    from lthjax.tickets import ticket as tickets

    found = {}
    for ticket in lthjax.find_tickets(split, settings=settings, out=out, **options):
        found.setdefault(ticket.settings["seed"], []).append(tickets.record(ticket))
    return list(found.values())


_OWN = ("seeds", "together", "out")


def _default_out(config: Config) -> str:
    chosen = {name: value for name, value in dataclasses.asdict(config).items() if name not in _OWN}
    mark = hashlib.sha256(repr(sorted(chosen.items())).encode()).hexdigest()[:8]
    return f"runs/{Path(config.data).stem}-{config.model}-{mark}" + ("-seeds" if config.seeds > 1 else "")


if __name__ == "__main__":
    cli.run(main, Config, __doc__)
