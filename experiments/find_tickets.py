r"""Which share of a recommender's embedding table can go without a loss?

    python -m experiments.find_tickets                      (bundled MovieLens, MF: under 2 minutes on 2 CPU cores)
    python -m experiments.find_tickets --model lightgcn
    python -m experiments.find_tickets --seeds 5
    python -m experiments.find_tickets --preset paper_code --data yelp2018 --model mf
    python -m experiments.find_tickets --data path/to/train.txt --levels 10 --out runs/mine

Trains the dense model, prunes its smallest weights, rewinds the rest to their first values, trains again, and so on.
Prints which tickets win, and leaves a run folder; the same command goes on where it was stopped.
"""

import dataclasses
import hashlib
from pathlib import Path

import lthjax
from experiments import cli
from lthjax import plots, presets, report, runs, seeds, tickets
from lthjax.errors import SettingsError
from lthjax.settings import Settings
from lthjax.tickets import Ticket


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Settings of the run, how often it is repeated, and where it is kept."""

    seeds: int = 1
    """Runs with seeds --seed, --seed + 1, ...: means, standard deviations, verdicts over users and seeds."""
    out: str | None = None
    """Run folder; by default one under runs/ that is named after the settings."""

    def __post_init__(self):
        super().__post_init__()
        if self.seeds < 1:
            raise SettingsError(f"--seeds: wanted at least 1; got {self.seeds}.")


def main(config: Config) -> list[list[Ticket]]:
    """Find tickets with each seed, print table and sentence, leave the run folder with its picture."""
    settings = Settings(**{name: value for name, value in dataclasses.asdict(config).items() if name not in _OWN})
    out = Path(config.out or _default_out(config))
    split = lthjax.load_split(None, settings)
    for note in split.notes:
        print(note)
    if said := presets.conflicts(settings):
        print(said)
    print(f"run folder: {out}", flush=True)
    found = []
    for seed in range(settings.seed, settings.seed + config.seeds):
        place = out if config.seeds == 1 else out / f"seed_{seed}"
        found.append(list(lthjax.find_tickets(split, settings=dataclasses.replace(settings, seed=seed), out=place)))
    rows = [tickets.row(ticket) for ticket in found[0]] if config.seeds == 1 else seeds.combine(found)
    print(report.table(rows).to_string(index=False))
    print("\n".join([*report.remarks(rows), report.sentence(rows, len(found[0][0].users))]))
    title = f"{split.name}, {settings.model}, F = {settings.dim}"
    if config.seeds > 1:
        runs.write_table(out / "results.csv", rows)
        title += f", {config.seeds} seeds"
    if config.seeds > 1 and settings.levels:
        low, high = seeds.sparsest_winner_interval(found)
        print(
            f"95% interval of the highest winning sparsity: {low:.1%} to {high:.1%} (bootstrap over users and seeds)."
        )
    plots.save_recall_vs_sparsity(rows, out / "recall_vs_sparsity.png", title)
    return found


_OWN = ("seeds", "out")


def _default_out(config: Config) -> str:
    chosen = {name: value for name, value in dataclasses.asdict(config).items() if name != "out"}
    mark = hashlib.sha256(repr(sorted(chosen.items())).encode()).hexdigest()[:8]
    return f"runs/{Path(config.data).stem}-{config.model}-{mark}"


if __name__ == "__main__":
    cli.run(main, Config, __doc__)
