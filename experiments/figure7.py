r"""Figure 7: what does a ticket keep? The first ten users and items, dense beside ticket.

    python -m experiments.figure7                                        (seconds, to see that it works)
    python -m experiments.figure7 --scale cpu --seeds 3
    python -m experiments.figure7 --scale paper --data yelp2018

Trained layer-0 values of the dense model and of the sparsest winning ticket (the sparsest of all, where none wins) of
the first seed; pruned entries are hatched. The paper says that tickets keep the features of high magnitude: the table
counts over the whole tables, for every tenth of the dense model's entries by magnitude, the share that the ticket
keeps, and how the two models' magnitudes of the kept entries go together (Spearman's correlation).

The same runs as figure2's IMP: where those have run, this only reads.

Cost on 2 CPU cores, bundled data: a run of MF takes 36 s at scale cpu, one of LightGCN 3 minutes. Scale paper is for a
GPU: 30 trainings of up to 1000 epochs for each model.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

import lthjax
from experiments import cli, studies
from lthjax import plots, presets, report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lthjax.tickets import Ticket

_ROWS = 10
_TENTHS = 10


class Pair(NamedTuple):
    """A dense model beside one of its tickets."""

    data: str
    model: str
    dense: "Ticket"
    ticket: "Ticket"


def main(study: studies.Study) -> list[studies.Row]:
    """Train what is missing, write table and picture; returns a row an entry drawn."""
    pairs = [pair_of(study, data, model) for data in study.data for model in study.models]
    rows = [row for pair in pairs for row in entries(pair)]
    studies.write(study, "figure7", rows, text_of(study, pairs), drawing_of(pairs))
    return rows


def pair_of(study: studies.Study, data: str, model: str) -> Pair:
    """The dense model of the first seed and the ticket to look at."""
    settings = studies.settings_of(study, data, model)
    rows = studies.rows_of(studies.find(study, lthjax.load_split(None, settings), settings))
    level = (report.sparsest_winner(rows) or rows[-1])["level"]
    _, place = studies.folders(study, settings)
    tickets = place / f"seed_{settings.seed}" / "tickets"
    dense, ticket = (lthjax.load_ticket(tickets / f"level_{number:02d}") for number in (0, level))
    return Pair(Path(data).stem, model, dense, ticket)


def entries(pair: Pair) -> list[studies.Row]:
    """A row for each entry of the first users and items."""
    return [
        {
            **{"data": pair.data, "model": pair.model, "sparsity": pair.ticket.sparsity, "side": side},
            **{"row": row, "dimension": dimension, "dense": float(dense), "ticket": float(ticket), "kept": bool(kept)},
        }
        for side in ("user", "item")
        for row, (dense_row, ticket_row, kept_row) in enumerate(zip(*_first(pair, side), strict=True))
        for dimension, (dense, ticket, kept) in enumerate(zip(dense_row, ticket_row, kept_row, strict=True))
    ]


def _first(pair: Pair, side: str) -> list[np.ndarray]:
    """[R, F] dense values, ticket's values and mask of the first rows of a table."""
    tables = (pair.dense.trained, pair.ticket.trained, pair.ticket.masks)
    return [np.asarray(getattr(table, side))[:_ROWS] for table in tables]


def kept_by_magnitude(dense: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """[10] share of entries kept in each tenth of the dense model's magnitudes, from the smallest.

    Args:
      dense: [E] trained values of all entries.
      kept: [E] True where the ticket keeps them.
    """
    order = np.argsort(np.abs(dense), kind="stable")
    return np.array([part.mean() for part in np.array_split(kept[order], _TENTHS)])


def text_of(study: studies.Study, pairs: Sequence[Pair]) -> str:
    """A line for each pair."""
    from scipy import stats

    lines = []
    for pair in pairs:
        dense, ticket, kept = (
            np.concatenate([np.ravel(side) for side in table])
            for table in (pair.dense.trained, pair.ticket.trained, pair.ticket.masks)
        )
        tenths = kept_by_magnitude(dense, kept)
        together = stats.spearmanr(np.abs(dense[kept]), np.abs(ticket[kept])).statistic
        lines.append(
            [
                *(pair.data, plots.MODELS[pair.model], f"{pair.ticket.sparsity:.1%}", pair.ticket.verdict.name),
                *(f"{tenths[place]:.1%}" for place in (0, _TENTHS // 2, -1)),
                *(f"{np.abs(dense[where]).mean():.4f}" for where in (kept, ~kept)),
                f"{together:.2f}",
            ]
        )
    header = ["data", "model", "pruned", "verdict, this seed", "kept of the smallest tenth", "of the sixth"]
    header += ["of the largest", "mean dense magnitude, kept", "pruned", "correlation of magnitudes"]
    note = f"Trained layer-0 values; tenths by magnitude in the dense model. Scale {study.scale} "
    note += f"({presets.title(studies.SCALES[study.scale])}), seed {pairs[0].ticket.settings['seed']}."
    return f"## What tickets keep\n\n{studies.markdown(header, lines)}\n\n{note}"


def drawing_of(pairs: Sequence[Pair]) -> "Callable[[Figure], None]":
    """Four panels for each pair: users and items, dense and ticket."""

    def draw(figure: "Figure") -> None:
        figure.set_size_inches(11, 4.6 * len(pairs))
        parts = np.atleast_1d(figure.subfigures(len(pairs), 1))
        for pair, part in zip(pairs, parts, strict=True):
            part.suptitle(f"{pair.data}, {plots.MODELS[pair.model]}", fontsize="medium", parse_math=False)
            axes = part.subplots(2, 2, sharex=True, sharey=True)
            first = {side: _first(pair, side) for side in ("user", "item")}
            most = max(np.abs(values[0]).max() for values in first.values())
            most = max(most, *(np.abs(values[1]).max() for values in first.values()))
            for (side, (dense, ticket, kept)), row in zip(first.items(), axes, strict=True):
                image = plots.table_image(dense, row[0], most)
                plots.table_image(ticket, row[1], most, kept)
                row[0].set_ylabel(f"first {_ROWS} {side}s")
            axes[0, 0].set_title("dense model", fontsize="medium")
            axes[0, 1].set_title(f"ticket, {pair.ticket.sparsity:.1%} pruned (hatched)", fontsize="medium")
            for ax in axes[1]:
                ax.set_xlabel("dimension")
            part.colorbar(image, ax=axes, shrink=0.8, label="trained value")

    return draw


if __name__ == "__main__":
    cli.run(main, studies.Study, __doc__)
