"""Curves: Recall against sparsity, training against epochs. Every function draws into an Axes and returns it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lthjax.errors import DataError
from lthjax.evaluation.verdict import sparsest_winner
from lthjax.plots.style import TICKET, WINNER, baseline, plain, save, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def recall_vs_sparsity(rows: Sequence[Mapping[str, Any]], ax: "Axes", k: int = 20) -> "Axes":
    """Recall against sparsity: the curve with its interval, the dense baseline dotted, a star on the sparsest winner.

    Args:
      rows: of `tickets.row`, the dense level first.
      ax: where to draw.
      k: places of Recall.
    """
    name = f"recall@{k}"
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
    best = sparsest_winner(list(rows))
    if best is not None:
        ax.plot(
            100 * best["sparsity"],
            best[name],
            marker="*",
            markersize=17,
            linestyle="none",
            color=WINNER,
            markeredgecolor=ax.get_facecolor(),
            label=f"sparsest winning ticket, {best['sparsity']:.1%} pruned",
            zorder=3,
        )
    ax.set_xlabel("entries pruned (%)")
    ax.set_ylabel(f"test Recall@{k}")
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, fontsize="small")
    return ax


def several(variants: Mapping[str, Sequence[Mapping[str, Any]]], ax: "Axes", k: int = 20) -> "Axes":
    """Recall against sparsity of several variants: bands are one standard deviation over seeds, stars the sparsest
    winning tickets, dotted lines the dense models.

    Args:
      variants: name -> rows of `tickets.row` or `seeds.combine`, the dense level first.
      ax: where to draw.
      k: places of Recall.
    """
    name = f"recall@{k}"
    same_dense = len({rows[0][name] for rows in variants.values()}) == 1
    for place, (variant, rows) in enumerate(variants.items()):
        look = style(variant, place)
        sparsity, recall = [100 * row["sparsity"] for row in rows], [row[name] for row in rows]
        if f"{name}_sd" in rows[0]:
            spread = [row[f"{name}_sd"] for row in rows]
            low, high = ([r + sign * d for r, d in zip(recall, spread, strict=True)] for sign in (-1, 1))
            ax.fill_between(sparsity, low, high, color=look["color"], alpha=0.12, linewidth=0)
        ax.plot(sparsity, recall, label=plain(variant), **look)
        best = sparsest_winner(list(rows))
        if best is not None:
            star = {"marker": "*", "markersize": 15, "linestyle": "none", "zorder": 3}
            star["markeredgecolor"] = ax.get_facecolor()
            ax.plot(100 * best["sparsity"], best[name], color=look["color"], **star)
        if place == 0 or not same_dense:
            ax.axhline(recall[0], **baseline() | ({} if same_dense else {"color": look["color"]}), linewidth=1)
    ax.set_xlabel("entries pruned (%)")
    ax.set_ylabel(f"test Recall@{k}")
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, fontsize="small", title="dotted: dense; star: sparsest winner", title_fontsize="x-small")
    return ax


def training_curves(
    log: "pd.DataFrame", ax: "Axes", names: Mapping[int, str] | None = None, value: str | None = None
) -> "Axes":
    """What chooses the best epoch against epochs, a curve for each ticket with a dot on its best epoch.

    Args:
      log: `run.log()`.
      ax: where to draw.
      names: level -> what to call it, of the levels to draw; by default all, by their numbers.
      value: column of the log; by default Recall on the part that chose the best epochs.

    Raises:
      DataError: the log is empty.
    """
    from matplotlib import colormaps

    if not len(log):
        raise DataError("wanted a log with evaluations; got an empty one.")
    if value is None:
        value = next(name for name in log.columns if "_recall@" in name)
    if names is None:
        names = {level: f"level {level}" for level in sorted(log["level"].unique().tolist())}
    colors = colormaps["viridis"].resampled(256)
    for place, (level, name) in enumerate(names.items()):
        lines = log[log["level"] == level].sort_values("epoch")
        # The ends of the colours are left out: one vanishes on black, the other on white.
        color = colors(0.25 + 0.55 * place / max(1, len(names) - 1))
        ax.plot(lines["epoch"], lines[value], color=color, linewidth=1.5, label=plain(name))
        best = lines[lines["is_best"]].tail(1)
        ax.plot(best["epoch"], best[value], color=color, marker="o", linestyle="none")
    part, _, metric = value.partition("_")
    metric = metric.replace("recall", "Recall").replace("ndcg", "NDCG")
    ax.set_xlabel("epoch")
    ax.set_ylabel(f"{ {'valid': 'validation'}.get(part, part) } {metric}" if metric else value)
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, fontsize="small", ncols=1 + (len(names) - 1) // 8)
    return ax


def save_recall_vs_sparsity(rows: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Write the picture of a run."""

    def draw(figure: "Figure") -> None:
        figure.set_size_inches(7, 4.5)
        ax = recall_vs_sparsity(rows, figure.add_subplot())
        ax.set_title(title, fontsize="medium", parse_math=False)  # names of files may hold a $

    save(path, draw)
