"""The paper's claims, each judged by the rows that a figure or table left: it holds, it does not, or it is open.

A claim is judged for one data set and model, by means over the seeds. Means may differ by chance: the figures behind a
verdict carry standard deviations, and a difference that lies within them is called so. A claim about winning tickets is
open where there are none. `reproduce` writes them into its report; this module is no command.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from experiments.paper.rows import Row, grouped, in_digits, nearest_row
from experiments.paper.scales import STANDS_FOR
from lthjax.evaluation.verdict import WINNING, sparsest_winner

SHARES = {"Yelp2018": 0.48, "TikTok": 0.1, "Kwai": 0.17}  # of parameters, at most, that were comparable in the paper


class Finding(NamedTuple):
    """What came of a claim."""

    holds: bool | None  # None: open, what was run cannot tell
    evidence: str  # the figures behind it


class Claim(NamedTuple):
    """Something that the paper says, and how rows tell whether it holds."""

    section: str  # of the paper
    text: str
    part: str  # module that makes the rows
    judge: Callable[[Sequence[Row]], Finding]


def winners_exist(rows: Sequence[Row]) -> Finding:
    """Does any ticket win? Rows of one variant."""
    return Finding(sparsest_winner(list(rows)) is not None, f"sparsest winner {_winner(rows)}")


def some_are_better(rows: Sequence[Row]) -> Finding:
    """Is any ticket better beyond doubt (verdict `better`)?"""
    better = [row for row in rows if row["verdict"] == "better"]
    dense, best = rows[0], _best(rows)
    evidence = f"dense {_recall(dense)}, best ticket {_at(best)}; better beyond doubt: {len(better)} of {len(rows) - 1}"
    return Finding(bool(better), evidence)


def at_par(rows: Sequence[Row]) -> Finding:
    """Is a ticket with no more of the entries than in the paper (the most that it names) not worse beyond doubt?"""
    share = SHARES[STANDS_FOR.get(rows[0]["data"], "Yelp2018")]
    last = max((row for row in rows if row["verdict"] != "worse"), key=lambda row: row["sparsity"])
    beyond = min((row["sparsity"] for row in rows if row["sparsity"] > last["sparsity"]), default=1.0)
    evidence = f"wanted {share:.0%} kept or less; the sparsest that is not worse beyond doubt: {_at(last)}, "
    evidence += f"dense {_recall(rows[0])}"
    if last["sparsity"] < 1 - share < beyond:
        return Finding(None, f"{evidence}; the next level is {beyond:.1%}")
    return Finding(last["sparsity"] >= 1 - share, evidence)


def wins_at(sparsity: float) -> Callable[[Sequence[Row]], Finding]:
    """Does the ticket of a sparsity win?"""

    def judge(rows: Sequence[Row]) -> Finding:
        row = nearest_row(rows, sparsity)
        if row is None:
            last = rows[-1]["sparsity"]
            return Finding(None, f"no level within half a point of {sparsity:.2%}; the last is {last:.1%}")
        return Finding(row["verdict"] in WINNING, f"{_recall(row)} against {_recall(rows[0])} dense: {row['verdict']}")

    return judge


def none_wins(variant: str) -> Callable[[Sequence[Row]], Finding]:
    """Does no ticket of the variant win?"""

    def judge(rows: Sequence[Row]) -> Finding:
        levels = _variants(rows)[variant]
        evidence = (
            f"{variant}: best {_at(_best(levels))}, dense {_recall(levels[0])}, sparsest winner {_winner(levels)}"
        )
        return Finding(sparsest_winner(levels) is None, evidence)

    return judge


def every_variant_wins(*names: str) -> Callable[[Sequence[Row]], Finding]:
    """Has each of the variants (all, if none is named) a winning ticket?"""

    def judge(rows: Sequence[Row]) -> Finding:
        variants = {name: levels for name, levels in _variants(rows).items() if not names or name in names}
        winners = "; ".join(f"{name} {_winner(levels)}" for name, levels in variants.items())
        return Finding(all(sparsest_winner(levels) for levels in variants.values()), f"sparsest winners: {winners}")

    return judge


def sparser(first: str, second: str) -> Callable[[Sequence[Row]], Finding]:
    """Does the first variant win with more pruned than the second?"""

    def judge(rows: Sequence[Row]) -> Finding:
        variants = _variants(rows)
        most = [_highest(variants[name]) for name in (first, second)]
        winners = "; ".join(f"{name} {_winner(variants[name])}" for name in (first, second))
        if not any(most):
            return Finding(None, "neither wins")
        if all(_ends_winning(variants[name]) for name in (first, second)):
            return Finding(None, f"both still win where their levels end: {winners}")
        return Finding(most[0] > most[1], f"sparsest winners: {winners}")

    return judge


def higher(first: str, second: str) -> Callable[[Sequence[Row]], Finding]:
    """Is the first variant's best ticket better than the second's?"""

    def judge(rows: Sequence[Row]) -> Finding:
        best, other = (_best(_variants(rows)[name]) for name in (first, second))
        evidence = f"best: {first} {_at(best)}, {second} {_at(other)}{_doubt(best, other)}"
        if best["recall@20"] == other["recall@20"]:
            return Finding(None, f"{evidence}; equal, as the first pruning of both is the same")
        return Finding(best["recall@20"] > other["recall@20"], evidence)

    return judge


def about_as_sparse(rows: Sequence[Row]) -> Finding:
    """Do the sparsest winners of all variants lie within ten points of one another?"""
    most = {name: _highest(levels) for name, levels in _variants(rows).items()}
    winners = ", ".join(f"{name} {value:.1%}" if value else f"{name} none" for name, value in most.items())
    if not any(most.values()):
        return Finding(None, "none wins")
    ends = [name for name, levels in _variants(rows).items() if _ends_winning(levels)]
    known = [value for name, value in most.items() if name not in ends]
    if ends and not (known and max(most.values()) - min(known) > 0.1):
        return Finding(None, f"{', '.join(ends)} still win where their levels end; sparsest winners: {winners}")
    low, high = min(most.values()), max(most.values())
    return Finding(high - low <= 0.1 and low > 0, f"sparsest winners: {winners}")


def falls_with_rate(rows: Sequence[Row]) -> Finding:
    """Does the best Recall fall from variant to variant, rates rising?"""
    best = {name: _best(levels) for name, levels in _variants(rows).items()}
    values = [row["recall@20"] for row in best.values()]
    evidence = ", ".join(f"{name} {_at(row)}" for name, row in best.items())
    ends = list(best.values())
    return Finding(values == sorted(values, reverse=True), f"best: {evidence}{_doubt(ends[0], ends[-1])}")


def fewer_levels(rows: Sequence[Row]) -> Finding:
    """Do higher rates take fewer prunings to their sparsest winner?"""
    winners = {name: sparsest_winner(levels) for name, levels in _variants(rows).items()}
    numbers = ", ".join(f"{name} {row['level'] if row else 'none'}" for name, row in winners.items())
    evidence = f"prunings to the sparsest winner: {numbers}"
    if None in winners.values():
        return Finding(None, evidence)
    falling = all(slow["level"] > fast["level"] for slow, fast in itertools.pairwise(winners.values()))
    return Finding(falling, evidence)


def beats(first: str, second: str) -> Callable[[Sequence[Row]], Finding]:
    """Is the first method better than the second at every size and sparsity of table 3?"""

    def judge(rows: Sequence[Row]) -> Finding:
        cells, won, missing = [], [], 0
        of_methods = grouped(rows, "dim", "variant")
        for (dim,), sparsity in itertools.product(grouped(rows, "dim"), (0.5, 0.75)):
            ours, other = (nearest_row(of_methods.get((dim, name), []), sparsity, 0.02) for name in (first, second))
            if ours is None or other is None:
                missing += 1
                continue
            won.append(ours["recall@20"] > other["recall@20"])
            cells.append(f"F = {dim}, {sparsity:.0%}: {_recall(ours)} / {_recall(other)}{_doubt(ours, other)}")
        cells += [f"{missing} of the cells are empty"] if missing else []
        return Finding(all(won) if won and not missing else None, f"{first} / {second}, {'; '.join(cells)}")

    return judge


def learns_faster(rows: Sequence[Row]) -> Finding:
    """Do all winning tickets reach the dense model's best, and in fewer epochs? Rows of figure 6."""
    wins = [row for row in rows if row["verdict"] in WINNING]
    if not wins:
        return Finding(None, "none wins")
    whole = [row for row in wins if row["seeds_that_reach"] == row["seeds"]]
    if not whole:
        return Finding(False, f"none of {len(wins)} winners gets there with all seeds")
    relative = [row["relative"] for row in whole]
    low, high = min(relative), max(relative)
    evidence = f"{len(whole)} of {len(wins)} winners get there with all seeds, {low:.1f} to {high:.1f} times as fast"
    return Finding(len(whole) == len(wins) and low > 1, evidence)


def keeps_the_large(rows: Sequence[Row]) -> Finding:
    """Is more kept of the dense model's largest tenth than of all? The row of figure 7."""
    (row,) = rows
    kept = [row[f"tenth_{number}"] for number in (1, 10)]
    evidence = f"{row['sparsity']:.1%} pruned; kept of the smallest tenth {kept[0]:.1%}, of the largest {kept[1]:.1%}"
    return Finding(kept[1] > 1 - row["sparsity"] > kept[0], evidence)


def rows_are_short(rows: Sequence[Row]) -> Finding:
    """Is even the longest row of the sparsest ticket at most half of F? Rows of complexity."""
    last = rows[-1]
    longest = max(last["largest_user"], last["largest_item"])
    return Finding(
        longest <= last["dim"] / 2,
        f"at {last['sparsity']:.1%} pruned F*_u = {last['largest_user']:.1f}, F*_i = {last['largest_item']:.1f} of "
        f"F = {last['dim']}, in the mean {last['mean_user']:.1f} and {last['mean_item']:.1f}",
    )


ALL = (
    Claim(
        "abstract",
        "tickets with 48% (Yelp2018), 10% (TikTok), 17% (Kwai) of the parameters are at par",
        "table2",
        at_par,
    ),
    Claim("4.2", "winning tickets exist", "table2", winners_exist),
    Claim("4.2", "tickets can be significantly better than the dense model", "table2", some_are_better),
    Claim("4.2", "with 65.13% pruned they win (but for LightGCN on Yelp2018)", "table2", wins_at(0.6513)),
    Claim("4.2", "with 95.29% pruned they win (MF on Kwai alone)", "table2", wins_at(0.9529)),
    Claim("4.3", "random pruning finds none (but for LightGCN on TikTok)", "figure2", none_wins("RP")),
    Claim("4.3", "iterative and one-shot pruning both find them", "figure2", every_variant_wins("IMP", "OMP")),
    Claim("4.3", "iterative pruning wins with more pruned than one-shot", "figure2", sparser("IMP", "OMP")),
    Claim("4.3", "and its best ticket is better", "figure2", higher("IMP", "OMP")),
    Claim("4.4", "tickets are better than PEP", "table3", beats("ticket", "PEP")),
    Claim("4.4", "tickets are better than LCM", "table3", beats("ticket", "LCM")),
    Claim("4.4", "PEP is better than LCM", "table3", beats("PEP", "LCM")),
    Claim("4.4", "(ours) tickets are better than MagPrune", "table3", beats("ticket", "MagPrune")),
    Claim("4.5", "they exist at every embedding size", "figure3", every_variant_wins()),
    Claim("4.5", "the highest winning sparsity hardly depends on the rate", "figure4", about_as_sparse),
    Claim("4.5", "lower rates find better tickets", "figure4", falls_with_rate),
    Claim("4.5", "higher rates take fewer steps to the sparsest", "figure4", fewer_levels),
    Claim("4.5", "rewinding improves the best ticket", "figure5", higher("init", "none")),
    Claim("4.5", "rewinding wins with more pruned", "figure5", sparser("init", "none")),
    Claim("4.6", "winning tickets learn faster", "figure6", learns_faster),
    Claim("4.7", "tickets keep features of high magnitude", "figure7", keeps_the_large),
    Claim("3.5", "F*_u and F*_i are much smaller than F", "complexity", rows_are_short),
)


def _variants(rows: Sequence[Row]) -> dict[str, list[Row]]:
    return {name: levels for (name,), levels in grouped(rows, "variant").items()}


def _best(rows: Sequence[Row]) -> Row:
    return max(rows[1:], key=lambda row: row["recall@20"])


def _highest(rows: Sequence[Row]) -> float:
    winner = sparsest_winner(list(rows))
    return winner["sparsity"] if winner else 0.0


def _ends_winning(rows: Sequence[Row]) -> bool:
    """Is the last level the sparsest winner? Then how far it would win is not known."""
    return _highest(rows) == max(row["sparsity"] for row in rows)


def _winner(rows: Sequence[Row]) -> str:
    winner = sparsest_winner(list(rows))
    return f"{winner['sparsity']:.1%} ({_recall(winner)})" if winner else "none"


def _recall(row: Row) -> str:
    return in_digits(row, "recall@20") or ""


def _at(row: Row) -> str:
    return f"{_recall(row)} at {row['sparsity']:.1%}"


def _doubt(first: Row, second: Row) -> str:
    """Says so where two means lie within their standard deviations."""
    spread: list[Any] = [row.get("recall@20_sd") for row in (first, second)]
    if None in spread or "" in spread:
        return ""
    within = abs(first["recall@20"] - second["recall@20"]) <= sum(spread)
    return " (within the spread)" if within else ""
