r"""Who pays for the pruning: users or items, the many with few interactions or the few with many?

    python -m experiments.paper.who_pays                                       (seconds, to see that it works)
    python -m experiments.paper.who_pays --scale cpu --models mf --seeds 3
    python -m experiments.paper.who_pays --scale cpu --variants IMP OMP RP

At every level: the share of entries kept by users and items in ten groups with equal shares of the training
interactions (group 1 has the rows with the fewest, Wang et al.'s own grouping), and by dimension; rows with no entry
left; test Recall@20 of users by group; the share of test interactions with the items of a group that are hit in the top
20; and of all items, how many are in anybody's top 20 (coverage), how unequally (Gini coefficient of exposure), and how
many training interactions a recommended item has. "Anybody" are the users with test items.

Runs are those of figure2; without them, a third of its cost for each variant. On bundled data with the runs of three
seeds of MF there, at scale cpu: 7 s of one CPU core.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

import lthjax
from experiments import cli
from experiments.paper import figure2, studies
from lthjax import plots
from lthjax.errors import SettingsError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from lthjax.data.split import Split
    from lthjax.embeddings import Embeddings
    from lthjax.search.problem import Job
    from lthjax.tickets.ticket import Ticket

NUM_GROUPS = 10
SIDES = ("user", "item")
K = 20
_PLACE = ("side", "place")
_RECALL = {"user": "users", "item": "items' test interactions"}
Panels = dict[tuple[str, str, str], "pd.DataFrame"]  # (data, model, variant) -> means and deviations over seeds


@dataclasses.dataclass(frozen=True, kw_only=True)
class Payers(studies.Study):
    """The flags of every figure and table, and which ways of pruning are looked at."""

    variants: tuple[Literal["IMP", "OMP", "RP"], ...] = ("IMP",)
    """Iterative, one-shot and random pruning, as in figure2."""

    def __post_init__(self):
        super().__post_init__()
        if not self.variants:
            raise SettingsError("--variants: wanted at least one of IMP, OMP and RP; got none.")


class Groups(NamedTuple):
    """Rows by their training interactions: degree and group of each, users and items apart."""

    degree: "Embeddings"  # [M] and [N] int64
    group: "Embeddings"  # [M] and [N] int64, from 0


def main(study: Payers) -> list[studies.Row]:
    """Train what is missing, measure, and write table and picture; returns all rows."""
    from lthjax.search import problem as jobs

    rows, members = [], {}
    for data, model in itertools.product(study.data, study.models):
        split = lthjax.load_split(None, studies.settings_of(study, data, model))
        groups = groups_of(split)
        members[Path(data).stem] = members_of(groups)
        for variant in dict.fromkeys(study.variants):
            settings = studies.settings_of(study, data, model, **figure2.VARIANTS[variant])
            job = jobs.prepare(split, settings)
            for ticket in studies.tickets_of(study, split, settings):
                labels = {"data": Path(data).stem, "model": model, "variant": variant, "level": ticket.level}
                labels |= {"seed": ticket.settings["seed"], "sparsity": ticket.sparsity}
                rows += [labels | row for row in measured(ticket, job, groups)]
    studies.write(study, "who_pays", rows, text_of(study, rows, members), drawing_of(rows))
    return rows


def groups_of(split: "Split") -> Groups:
    """The groups of a split, by its training part."""
    from lthjax.evaluation import breakdown as diagnostics

    degree = diagnostics.degrees(split.train, split.num_users, split.num_items)
    return Groups(degree, type(degree)(*(diagnostics.groups_of_equal_mass(side, NUM_GROUPS) for side in degree)))


def members_of(groups: Groups) -> list[list[str]]:
    """A line a group: its number, and how many users and items are in it, each with their mean degree."""
    from lthjax.evaluation import breakdown as diagnostics

    lines = [[str(place)] for place in range(1, NUM_GROUPS + 1)]
    for degree, group in zip(*groups, strict=True):
        counts = np.bincount(group, minlength=NUM_GROUPS)
        means = diagnostics.mean_by_group(degree, group, NUM_GROUPS)
        for line, count, mean in zip(lines, counts, means, strict=True):
            line += [f"{count:,}", f"{mean:.1f}" if count else ""]
    return lines


def measured(ticket: "Ticket", job: "Job", groups: Groups) -> Iterator[studies.Row]:
    """What one ticket keeps and whom it serves, a row a number.

    The place of a number is its group or dimension, from 1, or 0 where it is of all users or all items. Groups without
    rows, test users or test interactions have no number.
    """
    from lthjax.evaluation import breakdown as diagnostics
    from lthjax.evaluation import ranking as evaluate

    def rows(quantity, side, values):
        for place, value in enumerate(np.asarray(values).tolist(), 1):
            if not np.isnan(value):
                yield {"quantity": quantity, "side": side, "place": place, "value": value}

    def row(quantity, side, value):
        return {"quantity": quantity, "side": side, "place": 0, "value": float(value)}

    for side, mask, group in zip(SIDES, ticket.masks, groups.group, strict=True):
        of_rows = diagnostics.density_of_rows(mask)
        yield row("density", side, of_rows.mean())
        yield row("dead rows", side, np.count_nonzero(of_rows == 0))
        yield from rows("density of group", side, diagnostics.mean_by_group(of_rows, group, NUM_GROUPS))
        of_dimensions = diagnostics.density_of_dimensions(mask)
        yield from rows("density of dimension", side, of_dimensions)
        # By itself: dimension 3 of one seed has nothing to do with that of another, so there is no mean of them.
        yield row("emptiest dimension", side, of_dimensions.min())
        yield row("fullest dimension", side, of_dimensions.max())
    recall = diagnostics.mean_by_group(ticket.per_user[f"recall@{K}"], groups.group.user[ticket.users], NUM_GROUPS)
    yield from rows("recall of group", "user", recall)
    final = job.program.embed(ticket.trained, job.graph)
    top, test = evaluate.top_items(final, job.test, K), job.split.test
    hits = diagnostics.are_hits(*top, test)
    recall = diagnostics.mean_by_group(hits, groups.group.item[test[:, 1]], NUM_GROUPS)
    yield from rows("recall of group", "item", recall)
    exposed = diagnostics.exposure(top.items, job.split.num_items)
    yield row("coverage", "item", diagnostics.coverage(exposed))
    yield row("gini of exposure", "item", diagnostics.gini(exposed))
    yield row("degree of recommended", "item", diagnostics.mean_popularity(exposed, groups.degree.item))
    yield row("degree of test interactions", "item", groups.degree.item[test[:, 1]].mean())


def summary(rows: Sequence[studies.Row]) -> Panels:
    """Mean and standard deviation over seeds (NaN for one) by quantity, side and place; a column a sparsity.

    Beside the quantities of the rows there is "change of recall", against the dense model of the same seed.
    """
    import pandas as pd

    table = pd.DataFrame(rows)
    panel = ["data", "model", "variant"]
    table["sparsity"] = table.groupby([*panel, "level"])["sparsity"].transform("first")
    change = table[table["quantity"] == "recall of group"].copy()
    dense = change["value"].where(change["level"] == 0).groupby([change[name] for name in (*panel, "seed", *_PLACE)])
    change["value"] -= dense.transform("first")
    change["quantity"] = "change of recall"
    whole = pd.concat([table, change])
    keys = ["quantity", *_PLACE, "sparsity"]
    return {
        name: those.groupby(keys)["value"].agg(["mean", "std"]).unstack("sparsity")
        for name, those in whole.groupby(panel, sort=False)
    }


def picked(sparsities: Sequence[float], num: int = 4) -> list[float]:
    """The dense level, the sparsest, and those nearest to even steps between, each once."""
    steps = np.linspace(0, max(sparsities), num)
    return list(dict.fromkeys(min(sparsities, key=lambda sparsity: abs(sparsity - step)) for step in steps))


def text_of(study: Payers, rows: Sequence[studies.Row], members: Mapping[str, list[list[str]]]) -> str:
    """What is in the groups; for each data set, model and variant a table at a few sparsities and what is seen."""
    parts = ["## Who pays for the pruning"]
    header = ["group", "users", "interactions each", "items", "interactions each"]
    parts += [f"### Groups of {data}\n\n{studies.markdown(header, lines)}" for data, lines in members.items()]
    for (data, model, variant), panel in summary(rows).items():
        sparsities = picked(list(panel["mean"].columns))
        table = studies.markdown(
            ["", *(f"{sparsity:.1%} pruned" for sparsity in sparsities)], lines_of(panel, sparsities)
        )
        parts.append(f"### {data}, {plots.MODELS[model]}, {variant}\n\n{table}\n\n{remarks(panel)}")
    note = "Groups have equal shares of the training interactions; group 1 has those with the fewest. "
    note += f"Recall and lists are of the test part, top {K}; {studies.scale_of(study)}."
    note = studies.warned(note, [dataclasses.asdict(studies.SCALES[study.scale])])
    return "\n\n".join([*parts, note])


def lines_of(panel: "pd.DataFrame", sparsities: Sequence[float]) -> list[list[str]]:
    """The table: name of a quantity, then its values at the sparsities."""
    lines = []

    def add(name, key, form):
        values = []
        for sparsity in sparsities:
            mean, spread = (panel.loc[key, (part, sparsity)] for part in ("mean", "std"))
            values.append(f"{mean:{form}}" + ("" if np.isnan(spread) else f" ± {spread:{form}}"))
        lines.append([name, *values])

    for side in SIDES:
        add(f"entries kept, {side}s", ("density", side, 0), ".1%")
        for place in ends(panel, "density of group", side):
            add(f"... of group {place}", ("density of group", side, place), ".1%")
        for quantity in ("emptiest dimension", "fullest dimension"):
            add(f"... of the {quantity}", (quantity, side, 0), ".1%")
        add(f"{side}s with no entry", ("dead rows", side, 0), ".1f")
    for side in SIDES:
        for place in ends(panel, "recall of group", side):
            add(f"Recall@{K} of {_RECALL[side]}, group {place}", ("recall of group", side, place), ".4f")
    add("items in anybody's list", ("coverage", "item", 0), ".1%")
    add("Gini coefficient of exposure", ("gini of exposure", "item", 0), ".3f")
    add("interactions of a recommended item", ("degree of recommended", "item", 0), ".1f")
    return lines


def ends(panel: "pd.DataFrame", quantity: str, side: str) -> list[int]:
    """The first and the last group that has rows."""
    places = panel.loc[(quantity, side)].index
    return [int(places.min()), int(places.max())]


def remarks(panel: "pd.DataFrame") -> str:
    """What is seen between the dense model and the sparsest ticket, in words."""
    means = panel["mean"]
    first, last = means[means.columns.min()], means[means.columns.max()]
    kept = []
    for side in SIDES:
        groups = last["density of group", side]
        kept.append(
            f"{side}s keep {last['density', side, 0]:.1%} of their entries, from {groups.min():.1%} in group "
            f"{groups.idxmin()} to {groups.max():.1%} in group {groups.idxmax()}"
        )
    dead = [f"{last['dead rows', side, 0]:.0f} {side}s" for side in SIDES]
    said = [f"At {last.name:.1%} pruned, {'; '.join(kept)}; {' and '.join(dead)} have no entry left."]
    for side in SIDES:
        change, before = last["change of recall", side], first["recall of group", side]
        low, high = int(change.idxmin()), int(change.idxmax())
        spread = panel.loc[("change of recall", side), ("std", last.name)]
        moved = [
            f"{change[place]:+.4f}{'' if np.isnan(spread[place]) else f' ± {spread[place]:.4f}'} "
            f"(group {place}, from {before[place]:.4f})"
            for place in (low, high)
        ]
        said.append(f"Recall@{K} of {_RECALL[side]} changes by {' to '.join(moved)}.")
    coverage, gini, degree = (
        ("coverage", "item", 0),
        ("gini of exposure", "item", 0),
        ("degree of recommended", "item", 0),
    )
    said.append(
        f"In anybody's list are {last[coverage]:.1%} of the items ({first[coverage]:.1%} with the dense model), with a "
        f"Gini coefficient of {last[gini]:.3f} ({first[gini]:.3f}); a recommended item has {last[degree]:.1f} training "
        f"interactions on average ({first[degree]:.1f}), that of a test interaction "
        f"{last['degree of test interactions', 'item', 0]:.1f}."
    )
    return " ".join(said)


def drawing_of(rows: Sequence[studies.Row]) -> "Callable[[Figure], None]":
    """Six panels for each data set, model and variant: what is kept above, whom it serves below."""

    def draw(figure: "Figure") -> None:
        panels = summary(rows)
        figure.set_size_inches(12.5, 7 * len(panels))
        for part, ((data, model, variant), panel) in zip(
            figure.subfigures(len(panels), 1, squeeze=False).ravel(), panels.items(), strict=True
        ):
            part.suptitle(f"{data}, {plots.MODELS[model]}, {variant}", fontsize="medium", parse_math=False)
            _six(part, panel)

    return draw


def _six(part: "SubFigure", panel: "pd.DataFrame") -> None:
    (kept_users, kept_items, kept), (hit_users, hit_items, lists) = part.subplots(2, 3)
    _by_group(kept_users, panel, "density of group", "user")
    _by_group(kept_items, panel, "density of group", "item")
    kept_users.set_ylabel("entries kept by users (%)")
    kept_items.set_ylabel("entries kept by items (%)")
    for ax in (kept_users, kept_items):
        ax.set_ylim(bottom=0)
    _by_group(hit_users, panel, "change of recall", "user")
    _by_group(hit_items, panel, "change of recall", "item")
    hit_users.set_ylabel(f"Recall@{K} of users,\nchange (percentage points)")
    hit_items.set_ylabel(f"Recall@{K} of items,\nchange (percentage points)")
    _kept(kept, panel)
    _lists(lists, panel)
    for ax in (kept, lists):
        ax.set_xlabel("entries pruned (%)")
    for ax in part.axes:
        ax.grid(alpha=0.25)
    for ax in (kept_users, hit_users, kept, lists):  # items' lines are those of the users beside them
        ax.legend(frameon=False, fontsize="small")


def _by_group(ax: "Axes", panel: "pd.DataFrame", quantity: str, side: str) -> None:
    """A line a sparsity over the groups, in percent; bands are one standard deviation over seeds."""
    those = 100 * panel.loc[(quantity, side)]
    for number, sparsity in enumerate(picked(list(panel["mean"].columns))):
        _line(ax, those.index, those["mean", sparsity], those["std", sparsity], number, f"{sparsity:.1%} pruned")
    ax.set_xlabel(f"{side}s by training interactions,\nfew to many (group)")
    ax.set_xticks(range(1, NUM_GROUPS + 1))


def _kept(ax: "Axes", panel: "pd.DataFrame") -> None:
    """Entries kept by users and by items, between their emptiest and their fullest dimension, and dead rows."""
    for number, side in enumerate(SIDES):
        look = plots.style("", number)
        low, high = (100 * panel.loc[(f"{word} dimension", side, 0), "mean"] for word in ("emptiest", "fullest"))
        ax.fill_between(100 * low.index, low, high, color=look["color"], alpha=0.15, linewidth=0)
        for edge in (low, high):
            ax.plot(100 * low.index, edge, color=look["color"], linestyle=look["linestyle"], linewidth=0.7)
        mean, spread = (100 * panel.loc[("density", side, 0), part] for part in ("mean", "std"))
        _line(ax, 100 * mean.index, mean, spread, number, f"{side}s (emptiest to fullest dimension)")
    ax.set_ylabel("entries kept (%)")
    ax.set_ylim(bottom=0)


def _lists(ax: "Axes", panel: "pd.DataFrame") -> None:
    """What the lists are made of, relative to those of the dense model."""
    names = {"coverage": "items in anybody's list", "degree of recommended": "interactions of a recommended item"}
    names["gini of exposure"] = "Gini coefficient of exposure"
    for number, (quantity, name) in enumerate(names.items()):
        mean, spread = (panel.loc[(quantity, "item", 0), part] for part in ("mean", "std"))
        dense = mean[mean.index.min()] / 100
        _line(ax, 100 * mean.index, mean / dense, spread / dense, number, name)
    ax.set_ylabel(f"top-{K} lists (% of the dense model's)")
    ax.set_ylim(bottom=0)


def _line(ax: "Axes", x: "pd.Index", mean: "pd.Series", spread: "pd.Series", number: int, label: str) -> None:
    look = plots.style("", number)
    if spread.notna().any():
        ax.fill_between(x, mean - spread, mean + spread, color=look["color"], alpha=0.15, linewidth=0)
    ax.plot(x, mean, label=label, **look)


if __name__ == "__main__":
    cli.run(main, Payers, __doc__)
