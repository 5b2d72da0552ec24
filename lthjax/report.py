"""What a person reads of a finished run: the table, the sentence."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def sparsest_winner(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The row of the sparsest winning ticket, or None."""
    winners = [row for row in rows if row["verdict"] in ("wins", "better")]
    return max(winners, key=lambda row: row["sparsity"], default=None)


def table(rows: list[dict[str, Any]], k: int = 20) -> "pd.DataFrame":
    """One row a level, written out for reading.

    Args:
      rows: of `tickets.row`, the dense level first.
      k: places of Recall and NDCG.
    """
    import pandas as pd

    dense, best = rows[0][f"recall@{k}"], sparsest_winner(rows)
    return pd.DataFrame(
        {
            "level": row["level"],
            "pruned": f"{row['sparsity']:.1%}",
            "entries kept": f"{row['num_kept']:,}",
            f"Recall@{k}": f"{row[f'recall@{k}']:.4f}",
            f"NDCG@{k}": f"{row[f'ndcg@{k}']:.4f}",
            "against dense": f"{row['difference'] / dense:+.1%}" if row["level"] and dense else "",
            "95% interval": f"{row['interval_low']:+.4f} to {row['interval_high']:+.4f}" if row["level"] else "",
            "best epoch": row["best_epoch"],
            "verdict": row["verdict"] + (" *" if row is best else ""),
        }
        for row in rows
    )


def remarks(rows: list[dict[str, Any]]) -> list[str]:
    """Lines that stand under a table: the settings behind it, and a warning where the test part chose the epochs."""
    lines = [f"settings: {rows[0]['settings']}"]
    if any(row["selection"] == "test" for row in rows):
        lines.append("WARNING: best epochs were chosen on the test part (selection test): these numbers flatter.")
    return lines


def sentence(rows: list[dict[str, Any]], num_users: int, k: int = 20) -> str:
    """The sparsest winning ticket in one plain sentence.

    Args:
      rows: of `tickets.row`, the dense level first.
      num_users: users with test items.
      k: places of Recall.
    """
    name, dense, best = f"recall@{k}", rows[0], sparsest_winner(rows)
    if best is None:
        return (
            f"No ticket wins: none of the {len(rows) - 1} is as good as the dense model "
            f"(test Recall@{k} {dense[name]:.4f} at epoch {dense['best_epoch']}) as early."
        )
    return (
        f"The sparsest winning ticket is level {best['level']}: with {best['sparsity']:.1%} of the entries pruned it "
        f"reaches test Recall@{k} {best[name]:.4f} at epoch {best['best_epoch']}, the dense model {dense[name]:.4f} "
        f"at epoch {dense['best_epoch']} (difference {best['difference']:+.4f}, 95% interval "
        f"{best['interval_low']:+.4f} to {best['interval_high']:+.4f}, paired t-test over {num_users:,} users)."
    )
