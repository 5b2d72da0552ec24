r"""Who pays for the pruning: users or items, the many with few interactions or the few with many?

    python -m experiments.paper.who_pays                                       (seconds, to see that it works)
    python -m experiments.paper.who_pays --scale cpu --models mf --seeds 3
    python -m experiments.paper.who_pays --scale cpu --variants IMP OMP RP

At every level: the share of entries kept by users and items in ten groups with equal shares of the training
interactions (group 1 has the rows with the fewest, Wang et al.'s own grouping), and by dimension; rows with no entry
left; test Recall@20 of users by group; the share of test interactions with the items of a group that are hit in the top
20; and of all items, how many are in anybody's top 20 (coverage), how unequally (Gini coefficient of exposure), and how
many training interactions a recommended item has. "Anybody" are the users with test items. Lists are as they are
served: of equal scores the item with more training interactions comes first.

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
from experiments.paper import figure2, panels, scales
from experiments.paper.rows import Row, markdown, with_warning, write_study
from experiments.paper.runs import Runs
from experiments.paper.scales import Study
from lthjax import plots
from lthjax.errors import SettingsError
from lthjax.plots.style import finish, legend_above

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from lthjax.data.split import Split
    from lthjax.embeddings import Embeddings
    from lthjax.evaluation.ranking import TopItems
    from lthjax.search.problem import Problem
    from lthjax.tickets.ticket import Ticket

NUM_GROUPS = 10
SIDES = ("user", "item")
K = 20
_PLACE = ("side", "place")
_RECALL = {"user": "users", "item": "items' test interactions"}
Panels = dict[tuple[str, str, str], "pd.DataFrame"]  # (data, model, variant) -> means and deviations over seeds


@dataclasses.dataclass(frozen=True, kw_only=True)
class Payers(Study):
    """The flags of every figure and table, and which ways of pruning are looked at."""

    variants: tuple[Literal["IMP", "OMP", "RP", "RP by degree"], ...] = ("IMP",)
    """Iterative, one-shot and random pruning, as in figure2."""

    def __post_init__(self):
        super().__post_init__()
        if not self.variants:
            raise SettingsError("--variants: wanted at least one of IMP, OMP, RP and RP by degree; got none.")


class Groups(NamedTuple):
    """Rows by their training interactions: degree and group of each, users and items apart."""

    degree: "Embeddings"  # [M] and [N] int64
    group: "Embeddings"  # [M] and [N] int64, from 0


def main(study: Payers) -> list[Row]:
    """Train what is missing, measure, and write table and picture; returns all rows."""
    rows, members = [], {}
    for data, model in itertools.product(study.data, study.models):
        split = lthjax.load_split(None, scales.settings_of(study, data, model))
        groups = groups_of(split)
        members[Path(data).stem] = members_of(groups)
        for variant in dict.fromkeys(study.variants):
            settings = scales.settings_of(study, data, model, **figure2.VARIANTS[variant])
            labels = {"data": Path(data).stem, "model": model, "variant": variant}
            rows += [labels | row for row in rows_of(Runs(study, settings, split), groups)]
    write_study(study, "who_pays", rows, text_of(study, rows, members), drawing_of(rows))
    return rows


def rows_of(runs: Runs, groups: Groups) -> Iterator[Row]:
    """What is measured of all tickets of some runs."""
    from lthjax.search.problem import prepare

    problem = prepare(runs.split, runs.settings)
    for ticket in runs.tickets():
        labels = {"level": ticket.level, "seed": ticket.settings.seed, "sparsity": ticket.sparsity}
        for row in measured(ticket, problem, groups):
            yield labels | row


def groups_of(split: "Split") -> Groups:
    """The groups of a split, by its training part."""
    from lthjax.evaluation import breakdown

    degree = breakdown.degrees(split.train, split.num_users, split.num_items)
    return Groups(degree, type(degree)(*(breakdown.groups_of_equal_mass(side, NUM_GROUPS) for side in degree)))


def members_of(groups: Groups) -> list[list[str]]:
    """One line per group: its number, and how many users and items are in it, each with their mean degree."""
    from lthjax.evaluation import breakdown

    lines = [[str(number)] for number in range(1, NUM_GROUPS + 1)]
    for degree, group in zip(*groups, strict=True):
        counts = np.bincount(group, minlength=NUM_GROUPS)
        means = breakdown.mean_by_group(degree, group, NUM_GROUPS)
        for line, count, mean in zip(lines, counts, means, strict=True):
            line += [f"{count:,}", f"{mean:.1f}" if count else ""]
    return lines


def measured(ticket: "Ticket", problem: "Problem", groups: Groups) -> Iterator[Row]:
    """What one ticket keeps and whom it serves, one row per number.

    The place of a number is its group or dimension, from 1, or 0 where it is of all users or all items. Groups without
    rows, test users or test interactions have no number.

    Args:
      ticket: to measure.
      problem: that it was found for.
      groups: of its split.
    """
    from lthjax.evaluation import breakdown

    for side, mask, group in zip(SIDES, ticket.masks, groups.group, strict=True):
        of_rows = breakdown.density_of_rows(mask)
        yield _number("density", side, of_rows.mean())
        yield _number("dead rows", side, np.count_nonzero(of_rows == 0))
        yield from _numbers("density of group", side, breakdown.mean_by_group(of_rows, group, NUM_GROUPS))
        of_dimensions = breakdown.density_of_dimensions(mask)
        yield from _numbers("density of dimension", side, of_dimensions)
        # By itself: dimension 3 of one seed has nothing to do with that of another, so there is no mean of them.
        yield _number("emptiest dimension", side, of_dimensions.min())
        yield _number("fullest dimension", side, of_dimensions.max())
    recall = breakdown.mean_by_group(ticket.per_user[f"recall@{K}"], groups.group.user[ticket.users], NUM_GROUPS)
    yield from _numbers("recall of group", "user", recall)
    final = problem.program.embed(ticket.trained, problem.graph)
    top, test = served(final, problem), problem.split.test
    hits = breakdown.are_hits(*top, test)
    recall = breakdown.mean_by_group(hits, groups.group.item[test[:, 1]], NUM_GROUPS)
    yield from _numbers("recall of group", "item", recall)
    exposed = breakdown.exposure(top.items, problem.split.num_items)
    yield _number("coverage", "item", breakdown.coverage(exposed))
    yield _number("gini of exposure", "item", breakdown.gini(exposed))
    yield _number("degree of recommended", "item", breakdown.mean_popularity(exposed, groups.degree.item))
    yield _number("degree of test interactions", "item", groups.degree.item[test[:, 1]].mean())


def served(final: "Embeddings", problem: "Problem") -> "TopItems":
    """The lists of the test users as they are served: among equal scores the item with more interactions comes first.

    Args:
      final: final embeddings.
      problem: with the parts, and what is left out of the lists.
    """
    from lthjax.evaluation.ranking import top_items
    from lthjax.search.tasks import test_task

    return top_items(final, test_task(problem.split, problem.settings, ("coverage",)), K)


def _number(quantity: str, side: str, value: float, place: int = 0) -> Row:
    return {"quantity": quantity, "side": side, "place": place, "value": float(value)}


def _numbers(quantity: str, side: str, values: np.ndarray) -> Iterator[Row]:
    """One row per group or dimension that has a number."""
    for place, value in enumerate(values, 1):
        if not np.isnan(value):
            yield _number(quantity, side, value, place)


def summary(rows: Sequence[Row]) -> Panels:
    """Mean and standard deviation over seeds (NaN for one) by quantity, side and place; one column per sparsity.

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
        name: of_panel.groupby(keys)["value"].agg(["mean", "std"]).unstack("sparsity")
        for name, of_panel in whole.groupby(panel, sort=False)
    }


def picked(sparsities: Sequence[float], num: int = 4) -> list[float]:
    """The dense level, the sparsest, and those nearest to even steps between, each once."""
    steps = np.linspace(0, max(sparsities), num)
    return list(dict.fromkeys(min(sparsities, key=lambda sparsity: abs(sparsity - step)) for step in steps))


def text_of(study: Payers, rows: Sequence[Row], members: Mapping[str, list[list[str]]]) -> str:
    """What is in the groups; for each data set, model and variant a table at a few sparsities and what is seen.

    Args:
      study: the flags.
      rows: all of them.
      members: data set -> lines of `members_of`.
    """
    parts = ["## Who pays for the pruning"]
    header = ["group", "users", "interactions each", "items", "interactions each"]
    parts += [f"### Groups of {data}\n\n{markdown(header, lines)}" for data, lines in members.items()]
    for (data, model, variant), panel in summary(rows).items():
        sparsities = picked(list(panel["mean"].columns))
        table = markdown(["", *(f"{sparsity:.1%} pruned" for sparsity in sparsities)], lines_of(panel, sparsities))
        parts.append(f"### {data}, {plots.MODELS[model]}, {variant}\n\n{table}\n\n{remarks(panel)}")
    note = "Groups have equal shares of the training interactions; group 1 has those with the fewest. "
    note += f"Recall and lists are of the test part, top {K}; {scales.in_words(study)}."
    note = with_warning(note, [dataclasses.asdict(scales.SCALES[study.scale])])
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
    """The first and the last group that has rows.

    Args:
      panel: of `summary`.
      quantity: of groups.
      side: user or item.
    """
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
    sentences = [f"At {last.name:.1%} pruned, {'; '.join(kept)}; {' and '.join(dead)} have no entry left."]
    for side in SIDES:
        change, before = last["change of recall", side], first["recall of group", side]
        low, high = int(change.idxmin()), int(change.idxmax())
        spread = panel.loc[("change of recall", side), ("std", last.name)]
        moved = [
            f"{change[place]:+.4f}{'' if np.isnan(spread[place]) else f' ± {spread[place]:.4f}'} "
            f"(group {place}, from {before[place]:.4f})"
            for place in (low, high)
        ]
        sentences.append(f"Recall@{K} of {_RECALL[side]} changes by {' to '.join(moved)}.")
    coverage, gini, degree = (
        ("coverage", "item", 0),
        ("gini of exposure", "item", 0),
        ("degree of recommended", "item", 0),
    )
    sentences.append(
        f"In anybody's list are {last[coverage]:.1%} of the items ({first[coverage]:.1%} with the dense model), with a "
        f"Gini coefficient of {last[gini]:.3f} ({first[gini]:.3f}); a recommended item has {last[degree]:.1f} training "
        f"interactions on average ({first[degree]:.1f}), that of a test interaction "
        f"{last['degree of test interactions', 'item', 0]:.1f}."
    )
    return " ".join(sentences)


def drawing_of(rows: Sequence[Row]) -> "Callable[[Figure], None]":
    """Six panels for each data set, model and variant: what is kept above, whom it serves below."""

    def draw(figure: "Figure") -> None:
        summaries = summary(rows)
        titles = [f"{data}, {plots.MODELS[model]}, {variant}" for data, model, variant in summaries]
        parts = panels.titled_parts(figure, titles, (12.5, 7 * len(summaries)))
        for part, panel in zip(parts, summaries.values(), strict=True):
            _draw_six(part, panel)

    return draw


def _draw_six(part: "SubFigure", panel: "pd.DataFrame") -> None:
    (kept_users, kept_items, kept), (hit_users, hit_items, lists) = part.subplots(2, 3)
    for side, kept_by, hit in zip(SIDES, (kept_users, kept_items), (hit_users, hit_items), strict=True):
        x_label = f"{side}s by training interactions,\nfew to many (group)"
        for ax, quantity in ((kept_by, "density of group"), (hit, "change of recall")):
            panels.draw_curves(ax, _over_groups(panel, quantity, side))
            ax.set_xticks(range(1, NUM_GROUPS + 1))
        kept_by.set_ylim(bottom=0)
        finish(kept_by, x_label, f"entries kept by {side}s (%)")
        finish(hit, x_label, f"Recall@{K} of {side}s,\nchange (percentage points)")
    for ax in (kept_items, hit_users, hit_items):
        ax.get_legend().remove()  # their lines are those of the first panel
    legend_above(kept_users, ncols=2)
    _draw_kept(kept, panel)
    _draw_lists(lists, panel)


def _over_groups(panel: "pd.DataFrame", quantity: str, side: str) -> Iterator[panels.Curve]:
    """A curve over the groups for each sparsity, in percent."""
    numbers = 100 * panel.loc[(quantity, side)]
    for sparsity in picked(list(panel["mean"].columns)):
        yield _curve(f"{sparsity:.1%} pruned", numbers["mean", sparsity], numbers["std", sparsity])


def _draw_kept(ax: "Axes", panel: "pd.DataFrame") -> None:
    """Entries kept by users and by items, between their emptiest and their fullest dimension."""
    curves = []
    for number, side in enumerate(SIDES):
        line = plots.style("", number)
        low, high = (_by_percent(panel, f"{end} dimension", side)["mean"] for end in ("emptiest", "fullest"))
        ax.fill_between(low.index, low, high, color=line["color"], alpha=0.15, linewidth=0)
        for edge in (low, high):
            ax.plot(edge.index, edge, color=line["color"], linestyle=line["linestyle"], linewidth=0.7)
        density = _by_percent(panel, "density", side)
        curves.append(_curve(f"{side}s", density["mean"], None))
    panels.draw_curves(ax, curves)
    ax.set_ylim(bottom=0)
    finish(ax, panels.PRUNED, "entries kept (%)")
    legend_above(ax, title="shaded: emptiest to fullest dimension", title_fontsize="x-small")


def _draw_lists(ax: "Axes", panel: "pd.DataFrame") -> None:
    """What the lists are made of, relative to those of the dense model."""
    names = {"coverage": "items in anybody's list", "degree of recommended": "interactions of a recommended item"}
    names["gini of exposure"] = "Gini coefficient of exposure"
    curves = []
    for quantity, name in names.items():
        numbers = _by_percent(panel, quantity, "item")
        dense = numbers["mean"].iloc[0] / 100
        curves.append(_curve(name, numbers["mean"] / dense, numbers["std"] / dense))
    panels.draw_curves(ax, curves)
    ax.set_ylim(bottom=0)
    finish(ax, panels.PRUNED, f"top-{K} lists\n(% of the dense model's)")
    legend_above(ax)


def _by_percent(panel: "pd.DataFrame", quantity: str, side: str) -> "pd.DataFrame":
    """Mean and deviation, in percent, of a quantity of all users or items; the sparsity, in percent, is the index."""
    numbers = 100 * panel.loc[(quantity, side, 0)].unstack(0)
    return numbers.set_axis(100 * numbers.index, axis="index").sort_index()


def _curve(label: str, mean: "pd.Series", spread: "pd.Series | None") -> panels.Curve:
    """A curve over the index, with its spread where there are several seeds."""
    return panels.with_spread(label, mean.index, mean, spread if spread is not None and spread.notna().any() else None)


if __name__ == "__main__":
    cli.run(main, Payers, __doc__)
