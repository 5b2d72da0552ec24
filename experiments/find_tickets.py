r"""Which share of a recommender's embedding table can go without a loss?

    python -m experiments.find_tickets                      (bundled MovieLens, MF: under 2 minutes on 2 CPU cores)
    python -m experiments.find_tickets --model lightgcn
    python -m experiments.find_tickets --data path/to/train.txt --levels 10 --out runs/mine

Trains the dense model, prunes its smallest weights, rewinds the rest to their first values, trains again, and so on.
Prints which tickets win, and leaves a run folder; the same command goes on where it was stopped.
"""

import dataclasses
import hashlib
from pathlib import Path

import lthjax
from experiments import cli
from lthjax import plots, report, tickets
from lthjax.settings import Settings
from lthjax.tickets import Ticket


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Settings of the run, and where it is kept."""

    out: str | None = None
    """Run folder; by default one under runs/ that is named after the settings."""


def main(config: Config) -> list[Ticket]:
    """Find tickets, print table and sentence, leave the run folder with its picture."""
    given = dataclasses.asdict(config)
    out = Path(given.pop("out") or _default_out(config))
    settings = Settings(**given)
    split = lthjax.load_split(None, settings)
    for note in split.notes:
        print(note)
    print(f"run folder: {out}", flush=True)
    found = list(lthjax.find_tickets(split, settings=settings, out=out))
    rows = [tickets.row(ticket) for ticket in found]
    print(report.table(rows).to_string(index=False))
    print("\n".join([*report.remarks(rows), report.sentence(rows, len(found[0].users))]))
    plots.save_recall_vs_sparsity(
        rows, out / "recall_vs_sparsity.png", f"{split.name}, {settings.model}, F = {settings.dim}"
    )
    return found


def _default_out(config: Config) -> str:
    chosen = {name: value for name, value in dataclasses.asdict(config).items() if name != "out"}
    mark = hashlib.sha256(repr(sorted(chosen.items())).encode()).hexdigest()[:8]
    return f"runs/{Path(config.data).stem}-{config.model}-{mark}"


if __name__ == "__main__":
    cli.run(main, Config, __doc__)
