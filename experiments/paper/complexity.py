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

import lthjax
from experiments import cli
from experiments.paper import studies
from lthjax import plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lthjax.data.split import Split
    from lthjax.settings import Settings
    from lthjax.tickets.ticket import Ticket

FORMS = {"csr_int32": "CSR, int32", "csr": "CSR, smallest", "bitmap": "bitmap + values"}
_HEADER = (
    *("data", "model", "pruned", "F*_u", "F*_i", "mean user", "mean item", "dead users", "dead items"),
    *(FORMS.values()),
    *("smallest", "scoring", "paper"),
)


def main(study: studies.Study) -> list[studies.Row]:
    """Train what is missing, count, and write table and picture; returns all rows."""
    rows = []
    for data, model in itertools.product(study.data, study.models):
        settings = studies.settings_of(study, data, model)
        rows += levels_of(study, lthjax.load_split(None, settings), settings)
    studies.write(study, "complexity", studies.same_columns(rows), text_of(study, rows), drawing_of(rows))
    return rows


def levels_of(study: studies.Study, split: "Split", settings: "Settings") -> list[studies.Row]:
    """A row a level: means over the seeds, and which form is the smallest."""
    found: dict[int, list[studies.Row]] = {}
    sizes = {}
    for ticket in studies.tickets_of(study, split, settings):
        found.setdefault(ticket.level, []).append(counted(ticket, split))
        sizes.setdefault(ticket.level, {"sparsity": ticket.sparsity, "num_kept": ticket.num_kept})
    rows = []
    for level, each in sorted(found.items()):
        labels = {"data": Path(settings.data).stem, "model": settings.model, "level": level, **sizes[level]}
        counts = studies.over_seeds(each)
        smallest = min(("dense", *FORMS), key=lambda form: counts[f"bytes_{form}"])
        rows.append(labels | {"num_seeds": len(each), "dim": settings.dim, "smallest": smallest} | counts)
    return rows


def counted(ticket: "Ticket", split: "Split") -> dict[str, float]:
    """What one ticket takes, as numbers by name; see the columns in `lthjax.evaluation.costs`."""
    from lthjax.evaluation import breakdown as diagnostics
    from lthjax.evaluation import costs

    masks = lthjax.Embeddings(*(np.asarray(mask) for mask in ticket.masks))
    degree = diagnostics.degrees(split.train, split.num_users, split.num_items)
    dim, num_layers = masks.user.shape[1], ticket.settings["layers"] if ticket.settings["model"] == "lightgcn" else 0
    found: dict[str, float] = {}
    for side, mask in zip(("user", "item"), masks, strict=True):
        found |= {
            f"largest_{side}": costs.largest_row(mask),
            f"mean_{side}": dim * float(diagnostics.density_of_rows(mask).mean()),
            f"dead_{side}": int(np.count_nonzero(~mask.any(axis=1))),
        }
    found |= {f"bytes_{form}": size for form, size in costs.stored_bytes_of(masks)._asdict().items()}
    of_layers = {}
    final = masks
    for number, layer in enumerate(costs.layers(masks, split.train, num_layers)):
        final = lthjax.Embeddings(*(one | other for one, other in zip(final, layer, strict=True)))  # LightGCN adds them
        if number < num_layers:  # the last one is not multiplied again
            of_layers[f"layer_{number + 1}"] = costs.propagation(layer, degree)
        if num_layers:
            of_layers[f"nonzero_layer_{number}"] = sum(map(np.count_nonzero, layer)) / sum(side.size for side in layer)
    found |= {"scoring_dense": split.num_items * dim, "scoring": costs.scoring(final)}
    found["scoring_bound"] = split.num_items * min(found["largest_user"], found["largest_item"])
    return found | ({"layer_dense": 2 * len(split.train) * dim} if num_layers else {}) | of_layers


def text_of(study: studies.Study, rows: Sequence[studies.Row]) -> str:
    """A line a level, bytes and multiply-adds in percent of the dense table's, and what is seen, in words."""
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
        f"products; {studies.scale_of(study)}."
    )
    seen = [f"{data}, {plots.MODELS[model]}: {remarks(those)}" for (data, model), those in by_panel(rows).items()]
    return "\n\n".join(["## What tickets cost", studies.markdown(header, lines), note, *seen])


def remarks(rows: Sequence[studies.Row]) -> str:
    """What is seen in the levels of one data set and model, the dense one first, in words."""
    last, dim = rows[-1], rows[0]["dim"]
    full = max(row["sparsity"] for row in rows if min(row["largest_user"], row["largest_item"]) == dim)
    forms = [
        f"{_form(row)} from {row['sparsity']:.1%} on"
        for before, row in itertools.pairwise([{"smallest": None}, *rows])
        if row["smallest"] != before["smallest"]
    ]
    at = f"at {last['sparsity']:.1%}"
    said = [
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
        said.append(f"The products of layers 1 to {len(products)} take {shares} of theirs.")
    return " ".join(said)


def _form(row: studies.Row) -> str:
    return FORMS.get(row["smallest"], row["smallest"])


def share(row: studies.Row, name: str) -> float:
    """A number of a row relative to the dense table's."""
    return row[name] / row[dense_of(name)]


def dense_of(name: str) -> str:
    """The column of the dense table that belongs to `bytes_...`, `scoring...` or `layer_...`."""
    return f"{name.split('_')[0]}_dense"


def products_of(row: studies.Row) -> list[str]:
    """The columns of LightGCN's products with the adjacency, one a layer; none of MF."""
    return [name for name in row if name.startswith("layer_") and name.removeprefix("layer_").isdigit()]


def by_panel(rows: Sequence[studies.Row]) -> dict[tuple[str, str], list[studies.Row]]:
    """(data, model) -> rows of its levels."""
    found: dict[tuple[str, str], list[studies.Row]] = {}
    for row in rows:
        found.setdefault((row["data"], row["model"]), []).append(row)
    return found


def drawing_of(rows: Sequence[studies.Row]) -> "Callable[[Figure], None]":
    """For each data set and model, bytes and multiply-adds relative to dense against sparsity."""

    def draw(figure: "Figure") -> None:
        panels = by_panel(rows)
        figure.set_size_inches(10, 4 * len(panels))
        grid = figure.subplots(len(panels), 2, squeeze=False)
        for (left, right), ((data, model), those) in zip(grid, panels.items(), strict=True):
            _curves(left, those, {f"bytes_{form}": name for form, name in FORMS.items()})
            left.set_ylabel("bytes stored (% of dense)")
            taken = {"scoring": "one user's scores, counted", "scoring_bound": "the same in the paper, min(F*) / F"}
            taken |= {name: f"LightGCN's layer {place}" for place, name in enumerate(products_of(those[0]), 1)}
            _curves(right, those, taken)
            right.set_ylabel("multiply-adds (% of dense)")
            for ax in (left, right):
                ax.set_title(f"{data}, {plots.MODELS[model]}", fontsize="medium", parse_math=False)

    return draw


def _curves(ax: "Axes", rows: Sequence[studies.Row], names: Mapping[str, str]) -> None:
    """Columns relative to dense; bands are one standard deviation over seeds, dotted is the share of entries kept."""
    sparsity = np.asarray([100 * row["sparsity"] for row in rows])
    for place, (name, label) in enumerate(names.items()):
        look = plots.style("", place)
        mean = np.asarray([100 * share(row, name) for row in rows])
        if f"{name}_sd" in rows[0]:
            spread = np.asarray([100 * row[f"{name}_sd"] / row[dense_of(name)] for row in rows])
            ax.fill_between(sparsity, mean - spread, mean + spread, color=look["color"], alpha=0.15, linewidth=0)
        ax.plot(sparsity, mean, label=label, **look)
    ax.plot(sparsity, 100 - sparsity, color="0.2", linestyle=":", linewidth=1, label="entries kept")
    ax.set_ylim(bottom=0)
    ax.set_xlabel("entries pruned (%)")
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, fontsize="small")


if __name__ == "__main__":
    cli.run(main, studies.Study, __doc__)
