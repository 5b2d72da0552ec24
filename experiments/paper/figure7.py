r"""Figure 7: what does a ticket keep? The first ten users and items, dense beside ticket.

    python -m experiments.paper.figure7                                        (seconds, to see that it works)
    python -m experiments.paper.figure7 --scale cpu --seeds 3
    python -m experiments.paper.figure7 --scale paper --data yelp2018

Trained layer-0 values of the dense model and of the sparsest winning ticket (the sparsest of all, where none wins) of
the first seed; pruned entries are hatched. The paper says that tickets keep the features of high magnitude: the table
counts over the whole tables, for every tenth of the dense model's entries by magnitude, the share that the ticket
keeps, and how the two models' magnitudes of the kept entries go together (Spearman's correlation).

The same runs as figure2's IMP: where those have run, this only reads.

Cost, bundled data, scale cpu: a run of MF 36 s on 2 CPU cores, one of LightGCN 1 minute of one core. Scale paper is for
a GPU: 30 trainings of up to 1000 epochs for each model.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

import lthjax
from experiments import cli
from experiments.paper import panels, scales
from experiments.paper.rows import Row, markdown, with_warning, write_study
from experiments.paper.runs import runs_of
from experiments.paper.scales import Study
from lthjax import plots
from lthjax.evaluation.verdict import sparsest_winner

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

    from lthjax.tickets.ticket import Ticket

_ROWS = 10
_TENTHS = 10


class Pair(NamedTuple):
    """A dense model beside one of its tickets."""

    data: str
    model: str
    dense: "Ticket"
    ticket: "Ticket"


def main(study: Study) -> list[Row]:
    """Train what is missing, write table and picture; returns a row for each data set and model."""
    pairs = [pair_of(study, data, model) for data in study.data for model in study.models]
    rows = [what_is_kept(pair) for pair in pairs]
    write_study(study, "figure7", rows, text_of(study, rows), drawing_of(pairs))
    return rows


def pair_of(study: Study, data: str, model: str) -> Pair:
    """The dense model of the first seed and the ticket to look at.

    Args:
      study: the flags.
      data: name or path.
      model: backbone.
    """
    from lthjax.tickets.places import ticket_place

    runs = runs_of(study, data, model)
    rows = runs.rows()
    level = (sparsest_winner(rows) or rows[-1])["level"]
    folder = runs.folder / f"seed_{runs.settings.seed}"
    dense, ticket = (lthjax.load_ticket(ticket_place(folder, number)) for number in (0, level))
    return Pair(Path(data).stem, model, dense, ticket)


def what_is_kept(pair: Pair) -> Row:
    """A row of numbers over the whole tables."""
    from scipy import stats

    from lthjax.tickets.result import is_cut_short

    dense, ticket, kept = (
        np.concatenate([np.ravel(side) for side in table])
        for table in (pair.dense.trained, pair.ticket.trained, pair.ticket.masks)
    )
    tenths = {f"tenth_{number}": share for number, share in enumerate(kept_by_magnitude(dense, kept).tolist(), 1)}
    return {
        **{"data": pair.data, "model": pair.model, "seed": pair.ticket.settings.seed, "level": pair.ticket.level},
        **{"sparsity": pair.ticket.sparsity, "verdict": pair.ticket.verdict.name},
        "selection": pair.ticket.settings.selection,
        "dense_cut_short": is_cut_short(pair.dense.best_epoch, pair.dense.epochs, pair.dense.settings),
        **tenths,
        "dense_magnitude_of_kept": float(np.abs(dense[kept]).mean()),
        "dense_magnitude_of_pruned": float(np.abs(dense[~kept]).mean()),
        "correlation": float(stats.spearmanr(np.abs(dense[kept]), np.abs(ticket[kept])).statistic),
    }


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


def text_of(study: Study, rows: Sequence[Row]) -> str:
    """A line for each data set and model."""
    lines = [
        [
            *(row["data"], plots.MODELS[row["model"]], f"{row['sparsity']:.1%}", row["verdict"]),
            *(f"{row[f'tenth_{number}']:.1%}" for number in (1, 6, 10)),
            *(f"{row[f'dense_magnitude_of_{part}']:.4f}" for part in ("kept", "pruned")),
            f"{row['correlation']:.2f}",
        ]
        for row in rows
    ]
    header = ["data", "model", "pruned", "verdict, this seed", "kept of the smallest tenth", "of the sixth"]
    header += ["of the largest", "mean dense magnitude, kept", "pruned", "correlation of magnitudes"]
    note = f"Trained layer-0 values; tenths by magnitude in the dense model; {scales.in_words(study)}; drawn and "
    note += f"counted: seed {rows[0]['seed']}."
    return f"## What tickets keep\n\n{markdown(header, lines)}\n\n{with_warning(note, rows)}"


def drawing_of(pairs: Sequence[Pair]) -> "Callable[[Figure], None]":
    """Four panels for each pair: users and items, dense and ticket."""

    def draw(figure: "Figure") -> None:
        titles = [f"{pair.data}, {plots.MODELS[pair.model]}" for pair in pairs]
        parts = panels.titled_parts(figure, titles, (11, 4.6 * len(pairs)))
        for pair, part in zip(pairs, parts, strict=True):
            _four(pair, part)

    return draw


def _four(pair: Pair, part: "SubFigure") -> None:
    from lthjax.plots.tables import table_image

    axes = part.subplots(2, 2, sharex=True, sharey=True)
    first = {side: _first(pair, side) for side in ("user", "item")}
    most = max(np.abs(values).max() for dense, ticket, _ in first.values() for values in (dense, ticket))
    for (side, (dense, ticket, kept)), (left, right) in zip(first.items(), axes, strict=True):
        table_image(dense, left, most)
        table_image(ticket, right, most, kept)
        left.set_ylabel(f"first {_ROWS} {side}s")
    panels.set_title(axes[0, 0], "dense model")
    panels.set_title(axes[0, 1], f"ticket, {pair.ticket.sparsity:.1%} pruned (hatched)")
    for ax in axes[1]:
        ax.set_xlabel("dimension")
    part.colorbar(axes[0, 0].images[0], ax=axes, shrink=0.8, label="trained value")


if __name__ == "__main__":
    cli.run(main, Study, __doc__)
