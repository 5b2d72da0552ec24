"""What a person reads of a finished run: the table, the lines under it, the sentence."""

from typing import TYPE_CHECKING, Any

from lthjax.evaluation.verdict import sparsest_winner
from lthjax.metric_names import digits, label, main_of, measured
from lthjax.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

TEST_WARNING = "WARNING: best epochs were chosen on the test part (selection test): these numbers flatter."

CUT_SHORT = "CUT SHORT: a dense model was still learning when its epochs ended: what wins against it may not win."

ELSEWHERE = "dense, given: a table trained elsewhere; epochs are not compared with it, nor is a search counted in it."

Row = dict[str, Any]  # of `Result.row`, or of `seeds.combine`: then with standard deviations


def table(rows: list[Row]) -> "pd.DataFrame":
    """One row a level, the dense one first, written out for reading."""
    import pandas as pd

    dense, best = rows[0][main_of(rows[0])], sparsest_winner(rows)
    return pd.DataFrame(
        {
            "level": row["level"],
            "pruned": f"{row['sparsity']:.1%}",
            "entries kept": f"{row['num_kept']:,}",
            **{label(name): _with_deviation(row, name, digits(name)) for name in measured(row)},
            "against dense": f"{row['difference'] / dense:+.1%}" if row["level"] and dense else "",
            "95% interval": f"{row['interval_low']:+.4f} to {row['interval_high']:+.4f}" if row["level"] else "",
            "best epoch": "" if _is_elsewhere(row) else _with_deviation(row, "best_epoch", ".0f"),
            "search": _trainings(row.get("search_cost")),
            "tied users": _count(row, "tied_users"),
            "dead rows": " + ".join(filter(None, (_count(row, "dead_users"), _count(row, "dead_items")))),
            "verdict": row["verdict"] + (", given" if _is_elsewhere(row) else _mark(row, rows[0], best)),
        }
        for row in rows
    )


def baselines(rows: list[Row]) -> "pd.DataFrame":
    """One row per simple baseline, judged against the dense model, written out for reading."""
    import pandas as pd

    return pd.DataFrame(
        {
            "method": row["method"],
            "numbers kept": f"{row['num_kept']:,.0f}",
            **{label(name): f"{row[name]:{digits(name)}}" for name in measured(row)},
            "against dense": f"{row['difference']:+.4f}",
            "95% interval": f"{row['interval_low']:+.4f} to {row['interval_high']:+.4f}",
            "is": {"matches": "not worse beyond doubt", "slower": "as good", "wins": "as good"}.get(
                row["verdict"], row["verdict"]
            ),
            "note": row["note"],
        }
        for row in rows
    )


def remarks(rows: list[Row]) -> list[str]:
    """Lines that stand under a table: levels that were cut short, the settings, a warning where test chose the epochs.

    A verdict against a dense model that more epochs might have made better is marked by "?".
    """
    lines = [ELSEWHERE] if _is_elsewhere(rows[0]) else []
    short = [f"{row['level']:.0f}" for row in rows[1:] if row.get("cut_short")]
    if rows[0].get("cut_short"):
        lines.append(f"{CUT_SHORT} Its verdicts are marked ?; raise --epochs.")
    if short:
        lines.append(f"cut short, might have become better with more --epochs: level {', '.join(short)}.")
    seeds = f"; {rows[0]['num_seeds']} seeds, mean ± standard deviation" if "num_seeds" in rows[0] else ""
    lines.append(f"settings: {rows[0]['settings']}{seeds}")
    if any(row["selection"] == "test" for row in rows):
        lines.append(TEST_WARNING)
    return lines


def sentence(rows: list[Row], num_users: int) -> str:
    """The sparsest winning ticket in one plain sentence.

    Args:
      rows: the dense level first.
      num_users: users with test items.
    """
    name, dense, best = main_of(rows[0]), rows[0], sparsest_winner(rows)
    metric, elsewhere = label(name), _is_elsewhere(dense)
    model = "given table" if elsewhere else "dense model"
    reached = f"{dense[name]:.4f}" + ("" if elsewhere else f" at epoch {dense['best_epoch']:.0f}")
    if len(rows) == 1:
        return f"Only the {model} was {'measured' if elsewhere else 'trained'}: test {metric} {reached}."
    if best is None:
        early = "" if elsewhere else " as early"
        return (
            f"No ticket wins: none of the {len(rows) - 1} is as good as the {model} (test {metric} {reached}){early}."
        )
    test = f"paired t-test over {num_users:,} users"
    if best.get("num_seeds", 1) > 1:
        test = f"t-test over {num_users:,} users and {best['num_seeds']} seeds, both random"
    unsure = " (?)" if dense.get("cut_short") else ""
    return (
        f"The sparsest winning ticket{unsure} is level {best['level']}: with {best['sparsity']:.1%} of the entries "
        f"pruned it reaches test {metric} {best[name]:.4f} at epoch {best['best_epoch']:.0f}, the {model} "
        f"{reached} (difference {best['difference']:+.4f}, 95% interval "
        f"{best['interval_low']:+.4f} to {best['interval_high']:+.4f}, {test})."
    )


def unusual(settings: Settings) -> list[str]:
    """What the title of a picture says besides data, model and F: loss and optimizer where they are not the default."""
    names = ("loss", "optimizer")
    return [getattr(settings, name) for name in names if getattr(settings, name) != getattr(Settings, name)]


def _is_elsewhere(row: Row) -> bool:
    """Whether it is a table that was trained elsewhere: a level that trains has an epoch at least."""
    return row["level"] == 0 and row.get("epochs") == 0


def _mark(row: Row, dense: Row, best: Row | None) -> str:
    if row is dense:
        return ""
    return " ?" if dense.get("cut_short") else " *" if row is best else ""


def _count(row: Row, name: str) -> str:
    value = row.get(name)
    return "" if value is None or value != value else f"{value:,.0f}"  # NaN: a table of an older version


def _trainings(cost: float | str | None) -> str:
    """A cost in trainings of the dense model; empty where it is not known."""
    return "" if cost in (None, "") or cost != cost else f"{cost:.1f}" if cost >= 1 else f"{cost:.2g}"


def _with_deviation(row: Row, name: str, form: str) -> str:
    deviation = row.get(f"{name}_sd")
    return f"{row[name]:{form}}" + ("" if deviation is None else f" ± {deviation:{form}}")
