"""Curves: Recall against sparsity, training against epochs. Every function draws into an Axes and returns it.

Of runs with another first metric (--metrics) that one stands in the place of Recall.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lthjax import metric_names
from lthjax.errors import DataError
from lthjax.evaluation.verdict import sparsest_winner
from lthjax.plots.style import MOST_BANDS, TICKET, WINNER, baseline, finish, plain, readable, save, spread, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def recall_vs_sparsity(rows: Sequence[Mapping[str, Any]], ax: "Axes") -> "Axes":
    """Recall against sparsity: the curve with its interval, the dense baseline dotted, a star on the sparsest winner.

    Args:
      rows: of `Result.row`, the dense level first.
      ax: where to draw.
    """
    name = metric_names.main_of(rows[0])
    dense = rows[0][name]
    sparsity = [100 * row["sparsity"] for row in rows]
    ax.fill_between(
        sparsity[1:],
        [dense + row["interval_low"] for row in rows[1:]],
        [dense + row["interval_high"] for row in rows[1:]],
        color=TICKET,
        alpha=0.15,
        linewidth=0,
        label="95% interval of the difference to dense",
    )
    ax.axhline(dense, **baseline(), label=f"dense, {dense:.4f}")
    ax.plot(sparsity, [row[name] for row in rows], color=TICKET, marker="o", markersize=4, label="tickets")
    if best := _starred(rows):
        label = f"sparsest winning ticket, {best['sparsity']:.1%} pruned"
        _star(best, name, ax, color=WINNER, markersize=17, label=label)
    return finish(ax, "entries pruned (%)", f"test {metric_names.label(name)}")


def several(variants: Mapping[str, Sequence[Mapping[str, Any]]], ax: "Axes", **legend: Any) -> "Axes":
    """Recall, or the first metric of the runs, against sparsity of several variants.

    Bands, or error bars where there are more than two, are one standard deviation over seeds; stars are the sparsest
    winning tickets, dotted lines the dense models.

    Args:
      variants: name -> rows of `Result.row` or `seeds.combine`, the dense level first.
      ax: where to draw.
      **legend: further properties of the legend.

    Raises:
      DataError: their first metrics differ.
    """
    mains = {metric_names.main_of(rows[0]) for rows in variants.values()}
    if len(mains) > 1:
        raise DataError(f"wanted variants with the same first metric; got {', '.join(sorted(mains))}.")
    (name,) = mains
    same_dense = len({rows[0][name] for rows in variants.values()}) == 1
    for number, (variant, rows) in enumerate(variants.items()):
        line_style = style(variant, number)
        color = line_style["color"]
        sparsity, values = [100 * row["sparsity"] for row in rows], [row[name] for row in rows]
        if f"{name}_sd" in rows[0]:
            deviations = [row[f"{name}_sd"] for row in rows]
            low, high = ([r + sign * d for r, d in zip(values, deviations, strict=True)] for sign in (-1, 1))
            spread(ax, (sparsity, values, low, high), color, len(variants) <= MOST_BANDS)
        ax.plot(sparsity, values, label=plain(variant), **line_style)
        if best := _starred(rows):
            _star(best, name, ax, color=color, markersize=15)
        if number == 0 or not same_dense:
            ax.axhline(values[0], **baseline() | ({} if same_dense else {"color": color}), linewidth=1)
    title = "dotted: dense" + ("; star: sparsest winner" if any(map(_starred, variants.values())) else "")
    legend = {"title": title, "title_fontsize": "x-small"} | legend
    return finish(ax, "entries pruned (%)", f"test {metric_names.label(name)}", **legend)


def _starred(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The row that gets a star: the sparsest winner, none against a dense model that was cut short."""
    return None if rows[0].get("cut_short") else sparsest_winner(rows)


def _star(row: Mapping[str, Any], metric: str, ax: "Axes", **line: Any) -> None:
    line |= {"marker": "*", "linestyle": "none", "markeredgecolor": ax.get_facecolor(), "zorder": 3}
    ax.plot(100 * row["sparsity"], row[metric], **line)


def save_comparison(panels: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]], path: Path) -> None:
    """Write Recall against sparsity of many runs as PNG, a panel for each split, legends beside; raises as `save`.

    Args:
      panels: title -> run -> rows of `Result.row` or `seeds.combine`, the dense level first.
      path: of the file.
    """

    def draw(figure: "Figure") -> None:
        figure.set_size_inches(9, 4.5 * len(panels))
        for ax, (title, runs) in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels.items(), strict=True):
            several(runs, ax, loc="upper left", bbox_to_anchor=(1.0, 1.0))
            ax.set_title(readable(title), fontsize="medium", parse_math=False)

    save(path, draw)


def training_curves(
    log: "pd.DataFrame", ax: "Axes", names: Mapping[int, str] | None = None, value: str | None = None
) -> "Axes":
    """The metric that selects the best epoch against epochs: one curve per ticket, with a dot on its best epoch.

    Args:
      log: `run.log()`.
      ax: where to draw.
      names: level -> label, of the levels to draw; by default all, by their numbers.
      value: column of the log; by default the metric, on the part, that selected the best epochs.

    Raises:
      DataError: the log is empty.
    """
    from matplotlib import colormaps

    if not len(log):
        raise DataError("wanted a log with evaluations; got an empty one.")
    if value is None:
        value = next(name for name in log.columns if "@" in name)
    if names is None:
        names = {level: f"level {level}" for level in sorted(log["level"].unique().tolist())}
    colors = colormaps["viridis"].resampled(256)
    for number, (level, name) in enumerate(names.items()):
        evaluations = log[log["level"] == level].sort_values("epoch")
        # The ends of the colour map are left out: one is invisible on black, the other on white.
        color = colors(0.25 + 0.55 * number / max(1, len(names) - 1))
        ax.plot(evaluations["epoch"], evaluations[value], color=color, linewidth=1.5, label=plain(name))
        best = evaluations[evaluations["is_best"]].tail(1)
        ax.plot(best["epoch"], best[value], color=color, marker="o", linestyle="none")
    part, _, metric = value.rpartition("_")  # "valid_recall@20", "valid_sample_recall@20"
    y_label = f"{part.replace('valid', 'validation').replace('_', ' ')} {metric_names.label(metric)}" if part else value
    return finish(ax, "epoch", y_label, ncols=1 + (len(names) - 1) // 8)


def save_recall_vs_sparsity(rows: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Write `recall_vs_sparsity` of a run as PNG, PDF or SVG; raises as `save`.

    Args:
      rows: of `Result.row`, the dense level first.
      path: of the file.
      title: of the picture.
    """

    def draw(figure: "Figure") -> None:
        figure.set_size_inches(7, 4.5)
        ax = recall_vs_sparsity(rows, figure.add_subplot())
        ax.set_title(readable(title), fontsize="medium", parse_math=False)  # file names may contain a $

    save(path, draw)
