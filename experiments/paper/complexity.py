r"""Section 3.5 of the paper in numbers: what does a winning ticket cost to store, to score with and to propagate?

    python -m experiments.paper.complexity                                     (seconds, to see that it works)
    python -m experiments.paper.complexity --scale cpu --models mf --seeds 3
    python -m experiments.paper.complexity --scale paper --data yelp2018

For every level of iterative pruning: the entries of the fullest row, F*_u = max_u ||M_u||_0 for users and
F*_i = max_i ||M_i||_0 for items, which the paper's complexities are written in, beside the mean row; bytes stored in
each form; multiply-adds of scoring all items for one user, O(N min(F*_u, F*_i)) in the paper, counted exactly as
sum_f u_f i_f / M; and of each LightGCN layer, 2 E F dense, counted over the non-zeros of the table it multiplies.
LightGCN scores with the sum of its layers, and the non-zeros of that sum are counted there, not those of the masks.
Counted, not timed: a sparse product takes longer for each of its multiply-adds than a dense one.

Runs are those of figure2 and table2; without them, the same cost as table2. On bundled data with the runs of three
seeds of MF there, at scale cpu: 5 s of one CPU core.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments import cli
from experiments.paper import panels, scales
from experiments.paper.rows import Row, grouped, markdown, over_seeds, same_columns, write_study
from experiments.paper.runs import Runs, runs_of
from experiments.paper.scales import Study
from lthjax import plots
from lthjax.plots.style import finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lthjax.data.split import Split
    from lthjax.tickets.ticket import Ticket

FORMS = {"csr_int32": "CSR, int32", "csr": "CSR, smallest", "bitmap": "bitmap + values"}
_HEADER = (
    *("data", "model", "pruned", "F*_u", "F*_i", "mean user", "mean item", "dead users", "dead items"),
    *(FORMS.values()),
    *("smallest", "scoring", "paper"),
)


def main(study: Study) -> list[Row]:
    """Train what is missing, count, and write table and picture; returns all rows."""
    rows = []
    for data, model in itertools.product(study.data, study.models):
        labels = {"data": Path(data).stem, "model": model}
        rows += [labels | row for row in levels_of(runs_of(study, data, model))]
    write_study(study, "complexity", same_columns(rows), text_of(study, rows), drawing_of(rows))
    return rows


def levels_of(runs: Runs) -> list[Row]:
    """One row per level: means over the seeds, and which form is the smallest."""
    counts: dict[int, list[Row]] = {}
    labels = {}
    for ticket in runs.tickets():
        counts.setdefault(ticket.level, []).append(counted(ticket, runs.split))
        sizes = {"level": ticket.level, "sparsity": ticket.sparsity, "num_kept": ticket.num_kept}
        labels.setdefault(ticket.level, sizes)
    rows = []
    for level, of_seeds in sorted(counts.items()):
        means = over_seeds(of_seeds)
        smallest = min(("dense", *FORMS), key=lambda form: means[f"bytes_{form}"])
        about = {"num_seeds": len(of_seeds), "dim": runs.settings.dim, "smallest": smallest}
        rows.append(labels[level] | about | means)
    return rows


def counted(ticket: "Ticket", split: "Split") -> dict[str, float]:
    """What one ticket takes, as numbers by name; see the columns in `lthjax.evaluation.costs`."""
    from lthjax.embeddings import Embeddings
    from lthjax.evaluation import breakdown, costs

    masks = Embeddings(*(np.asarray(mask) for mask in ticket.masks))
    degree = breakdown.degrees(split.train, split.num_users, split.num_items)
    dim, num_layers = masks.user.shape[1], ticket.settings.layers if ticket.settings.model == "lightgcn" else 0
    counts: dict[str, float] = {}
    for side, mask in zip(Embeddings._fields, masks, strict=True):
        counts |= {
            f"largest_{side}": costs.largest_row(mask),
            f"mean_{side}": dim * float(breakdown.density_of_rows(mask).mean()),
            f"dead_{side}": int(np.count_nonzero(~mask.any(axis=1))),
        }
    counts |= {f"bytes_{form}": size for form, size in costs.stored_bytes_of(masks)._asdict().items()}
    of_layers = {"layer_dense": 2 * len(split.train) * dim} if num_layers else {}
    final = masks
    for number, layer in enumerate(costs.layers(masks, split.train, num_layers)):
        final = Embeddings(*map(np.logical_or, final, layer))  # LightGCN adds them
        if number < num_layers:  # the last one is not multiplied again
            of_layers[f"layer_{number + 1}"] = costs.propagation(layer, degree)
        if num_layers:
            of_layers[f"nonzero_layer_{number}"] = sum(map(np.count_nonzero, layer)) / sum(side.size for side in layer)
    counts |= {"scoring_dense": split.num_items * dim, "scoring": costs.scoring(final)}
    counts["scoring_bound"] = split.num_items * min(counts["largest_user"], counts["largest_item"])
    return counts | of_layers


def text_of(study: Study, rows: Sequence[Row]) -> str:
    """One line per level, bytes and multiply-adds in percent of the dense table's, and what is seen, in words."""
    num_products = max(len(products_of(row)) for row in rows)
    lines = []
    for row in rows:
        sizes = [f"{row[name]:.1f}" for name in ("largest_user", "largest_item", "mean_user", "mean_item")]
        dead = [f"{row[f'dead_{side}']:.1f}" for side in ("user", "item")]
        stored = [f"{share(row, f'bytes_{form}'):.1%}" for form in FORMS]
        taken = [f"{share(row, name):.1%}" for name in ("scoring", "scoring_bound", *products_of(row))]
        taken += [None] * (2 + num_products - len(taken))
        labels = [row["data"], plots.MODELS[row["model"]], f"{row['sparsity']:.1%}"]
        lines.append([*labels, *sizes, *dead, *stored, _form(row), *taken])
    header = [*_HEADER, *(f"layer {number}" for number in range(1, num_products + 1))]
    note = (
        "F* and mean: entries kept in the fullest and in the mean row. Bytes in three forms and multiply-adds are in "
        "percent of dense: of one user's scores, counted and as the paper's N min(F*_u, F*_i), and of LightGCN's "
        f"products; {scales.in_words(study)}."
    )
    seen = [f"{data}, {plots.MODELS[model]}: {remarks(levels)}" for (data, model), levels in _by_panel(rows).items()]
    return "\n\n".join(["## What tickets cost", markdown(header, lines), note, *seen])


def _by_panel(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    return grouped(rows, "data", "model")


def remarks(rows: Sequence[Row]) -> str:
    """What is seen in the levels of one data set and model, the dense one first, in words."""
    last, dim = rows[-1], rows[0]["dim"]
    full = max(row["sparsity"] for row in rows if min(row["largest_user"], row["largest_item"]) == dim)
    forms = [
        f"{_form(row)} from {row['sparsity']:.1%} on"
        for before, row in itertools.pairwise([{"smallest": None}, *rows])
        if row["smallest"] != before["smallest"]
    ]
    at = f"at {last['sparsity']:.1%}"
    sentences = [
        f"min(F*_u, F*_i) is F = {dim} up to {full:.1%} pruned; {at}, F*_u is {last['largest_user']:.1f} and F*_i "
        f"{last['largest_item']:.1f}, while the mean user keeps {last['mean_user']:.1f} entries and the mean item "
        f"{last['mean_item']:.1f}.",
        f"The smallest form is {', '.join(forms)}; {at} it takes {share(last, 'bytes_' + last['smallest']):.1%} of the "
        "dense bytes.",
        f"One user's scores take {share(last, 'scoring'):.1%} of the dense multiply-adds {at}, where the paper's "
        f"N min(F*_u, F*_i) is {share(last, 'scoring_bound'):.1%}.",
    ]
    if products := products_of(last):
        shares = ", ".join(f"{share(last, name):.1%}" for name in products)
        sentences.append(f"The products of layers 1 to {len(products)} take {shares} of theirs.")
    return " ".join(sentences)


def _form(row: Row) -> str:
    return FORMS.get(row["smallest"], row["smallest"])


def share(row: Row, name: str) -> float:
    """A number of a row relative to the dense table's."""
    return row[name] / row[dense_of(name)]


def dense_of(name: str) -> str:
    """The column of the dense table that belongs to `bytes_...`, `scoring...` or `layer_...`."""
    return f"{name.split('_')[0]}_dense"


def products_of(row: Row) -> list[str]:
    """The columns of LightGCN's products with the adjacency, one per layer; none of MF."""
    return [name for name in row if name.startswith("layer_") and name.removeprefix("layer_").isdigit()]


def drawing_of(rows: Sequence[Row]) -> "Callable[[Figure], None]":
    """For each data set and model, bytes and multiply-adds relative to dense against sparsity."""

    def draw(figure: "Figure") -> None:
        of_panels = _by_panel(rows)
        titles = [[f"{data}, {plots.MODELS[model]}"] * 2 for data, model in of_panels]
        grid = panels.titled_grid(figure, titles, (10, 4 * len(of_panels)))
        for (left, right), levels in zip(grid, of_panels.values(), strict=True):
            _draw_shares(left, levels, {f"bytes_{form}": name for form, name in FORMS.items()})
            finish(left, panels.PRUNED, "bytes stored (% of dense)")
            names = {"scoring": "one user's scores, counted", "scoring_bound": "the same in the paper, min(F*) / F"}
            names |= {name: f"LightGCN's layer {number}" for number, name in enumerate(products_of(levels[0]), 1)}
            _draw_shares(right, levels, names)
            finish(right, panels.PRUNED, "multiply-adds (% of dense)")

    return draw


def _draw_shares(ax: "Axes", rows: Sequence[Row], names: Mapping[str, str]) -> None:
    """Columns relative to dense; bands are one standard deviation over seeds, dotted is the share of entries kept."""
    sparsity = panels.percent(rows)
    curves = []
    for name, label in names.items():
        mean, spread = [100 * share(row, name) for row in rows], None
        if f"{name}_sd" in rows[0]:
            spread = [100 * row[f"{name}_sd"] / row[dense_of(name)] for row in rows]
        curves.append(panels.with_spread(label, sparsity, mean, spread))
    panels.draw_curves(ax, curves)
    ax.plot(sparsity, 100 - sparsity, color="0.2", linestyle=":", linewidth=1, label="entries kept")
    ax.set_ylim(bottom=0)


if __name__ == "__main__":
    cli.run(main, Study, __doc__)
