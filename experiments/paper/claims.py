"""The paper's claims, each judged by the rows that a figure or table left: it holds, it does not, or it is open.

A claim is judged for one data set and model, by means over the seeds. Means may differ by chance: the figures behind a
verdict carry standard deviations, and a difference that lies within them is called so. A claim about winning tickets is
open where there are none.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from experiments.paper import studies
from lthjax.evaluation.verdict import WINNING, sparsest_winner

Row = studies.Row


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
    said = f"dense {_recall(dense)}, best ticket {_at(best)}; better beyond doubt: {len(better)} of {len(rows) - 1}"
    return Finding(bool(better), said)


def at_par(rows: Sequence[Row]) -> Finding:
    """Is a ticket with no more of the entries than in the paper (the most that it names) not worse beyond doubt?"""
    share = SHARES[studies.STANDS_FOR.get(rows[0]["data"], "Yelp2018")]
    last = max((row for row in rows if row["verdict"] != "worse"), key=lambda row: row["sparsity"])
    beyond = min((row["sparsity"] for row in rows if row["sparsity"] > last["sparsity"]), default=1.0)
    said = f"wanted {share:.0%} kept or less; the sparsest that is not worse beyond doubt: {_at(last)}, "
    said += f"dense {_recall(rows[0])}"
    if last["sparsity"] < 1 - share < beyond:
        return Finding(None, f"{said}; the next level is {beyond:.1%}")
    return Finding(last["sparsity"] >= 1 - share, said)


def wins_at(sparsity: float) -> Callable[[Sequence[Row]], Finding]:
    """Does the ticket of a sparsity win?"""

    def judge(rows: Sequence[Row]) -> Finding:
        row = studies.nearest(rows, sparsity)
        if row is None:
            return Finding(
                None, f"no level within half a point of {sparsity:.2%}; the last is {rows[-1]['sparsity']:.1%}"
            )
        return Finding(row["verdict"] in WINNING, f"{_recall(row)} against {_recall(rows[0])} dense: {row['verdict']}")

    return judge


def none_wins(variant: str) -> Callable[[Sequence[Row]], Finding]:
    """Does no ticket of the variant win?"""

    def judge(rows: Sequence[Row]) -> Finding:
        mine = _variants(rows)[variant]
        said = f"{variant}: best {_at(_best(mine))}, dense {_recall(mine[0])}, sparsest winner {_winner(mine)}"
        return Finding(sparsest_winner(mine) is None, said)

    return judge


def every_variant_wins(*names: str) -> Callable[[Sequence[Row]], Finding]:
    """Has each of the variants (all, if none is named) a winning ticket?"""

    def judge(rows: Sequence[Row]) -> Finding:
        mine = {name: those for name, those in _variants(rows).items() if not names or name in names}
        said = "; ".join(f"{name} {_winner(those)}" for name, those in mine.items())
        return Finding(all(sparsest_winner(those) for those in mine.values()), f"sparsest winners: {said}")

    return judge


def sparser(first: str, second: str) -> Callable[[Sequence[Row]], Finding]:
    """Does the first variant win with more pruned than the second?"""

    def judge(rows: Sequence[Row]) -> Finding:
        variants = _variants(rows)
        most = [_highest(variants[name]) for name in (first, second)]
        said = "; ".join(f"{name} {_winner(variants[name])}" for name in (first, second))
        if not any(most):
            return Finding(None, "neither wins")
        if all(_ends_winning(variants[name]) for name in (first, second)):
            return Finding(None, f"both still win where their levels end: {said}")
        return Finding(most[0] > most[1], f"sparsest winners: {said}")

    return judge


def higher(first: str, second: str) -> Callable[[Sequence[Row]], Finding]:
    """Is the first variant's best ticket better than the second's?"""

    def judge(rows: Sequence[Row]) -> Finding:
        one, other = (_best(_variants(rows)[name]) for name in (first, second))
        said = f"best: {first} {_at(one)}, {second} {_at(other)}{_doubt(one, other)}"
        if one["recall@20"] == other["recall@20"]:
            return Finding(None, f"{said}; equal, as the first pruning of both is the same")
        return Finding(one["recall@20"] > other["recall@20"], said)

    return judge


def about_as_sparse(rows: Sequence[Row]) -> Finding:
    """Do the sparsest winners of all variants lie within ten points of one another?"""
    most = {name: _highest(those) for name, those in _variants(rows).items()}
    said = ", ".join(f"{name} {value:.1%}" if value else f"{name} none" for name, value in most.items())
    if not any(most.values()):
        return Finding(None, "none wins")
    ends = [name for name, those in _variants(rows).items() if _ends_winning(those)]
    known = [value for name, value in most.items() if name not in ends]
    if ends and not (known and max(most.values()) - min(known) > 0.1):
        return Finding(None, f"{', '.join(ends)} still win where their levels end; sparsest winners: {said}")
    return Finding(
        max(most.values()) - min(most.values()) <= 0.1 and min(most.values()) > 0, f"sparsest winners: {said}"
    )


def falls_with_rate(rows: Sequence[Row]) -> Finding:
    """Does the best Recall fall from variant to variant, rates rising?"""
    best = {name: _best(those) for name, those in _variants(rows).items()}
    values = [row["recall@20"] for row in best.values()]
    said = ", ".join(f"{name} {_at(row)}" for name, row in best.items())
    ends = list(best.values())
    return Finding(values == sorted(values, reverse=True), f"best: {said}{_doubt(ends[0], ends[-1])}")


def fewer_levels(rows: Sequence[Row]) -> Finding:
    """Do higher rates take fewer prunings to their sparsest winner?"""
    winners = {name: sparsest_winner(those) for name, those in _variants(rows).items()}
    said = ", ".join(f"{name} {row['level'] if row else 'none'}" for name, row in winners.items())
    if None in winners.values():
        return Finding(None, f"prunings to the sparsest winner: {said}")
    levels = [row["level"] for row in winners.values()]
    falling = all(low > high for low, high in itertools.pairwise(levels))
    return Finding(falling, f"prunings to the sparsest winner: {said}")


def beats(first: str, second: str) -> Callable[[Sequence[Row]], Finding]:
    """Is the first method better than the second at every size and sparsity of table 3?"""

    def judge(rows: Sequence[Row]) -> Finding:
        pairs, missing = [], 0
        for dim in dict.fromkeys(row["dim"] for row in rows):
            for sparsity in (0.5, 0.75):
                at = [
                    studies.nearest(
                        [row for row in rows if (row["dim"], row["variant"]) == (dim, name)], sparsity, 0.02
                    )
                    for name in (first, second)
                ]
                missing += None in at
                if None not in at:
                    pairs.append((f"F = {dim}, {sparsity:.0%}", *at))
        won = [one["recall@20"] > other["recall@20"] for _, one, other in pairs]
        said = [f"{where}: {_recall(one)} / {_recall(other)}{_doubt(one, other)}" for where, one, other in pairs]
        said += [f"{missing} of the cells are empty"] if missing else []
        return Finding(all(won) if won and not missing else None, f"{first} / {second}, {'; '.join(said)}")

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
    said = f"{len(whole)} of {len(wins)} winners get there with all seeds, {min(relative):.1f} to {max(relative):.1f} "
    return Finding(len(whole) == len(wins) and min(relative) > 1, f"{said}times as fast")


def keeps_the_large(rows: Sequence[Row]) -> Finding:
    """Is more kept of the dense model's largest tenth than of all? The row of figure 7."""
    (row,) = rows
    kept = [row[f"tenth_{number}"] for number in (1, 10)]
    said = f"{row['sparsity']:.1%} pruned; kept of the smallest tenth {kept[0]:.1%}, of the largest {kept[1]:.1%}"
    return Finding(kept[1] > 1 - row["sparsity"] > kept[0], said)


def rows_are_short(rows: Sequence[Row]) -> Finding:
    """Is even the longest row of the sparsest ticket at most half of F? Rows of complexity."""
    last = rows[-1]
    longest = max(last["largest_user"], last["largest_item"])
    said = f"at {last['sparsity']:.1%} pruned F*_u = {last['largest_user']:.1f}, F*_i = {last['largest_item']:.1f} of "
    said += f"F = {last['dim']}, in the mean {last['mean_user']:.1f} and {last['mean_item']:.1f}"
    return Finding(longest <= last["dim"] / 2, said)


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
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["variant"], []).append(row)
    return found


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
    return studies.value(row, "recall@20") or ""


def _at(row: Row) -> str:
    return f"{_recall(row)} at {row['sparsity']:.1%}"


def _doubt(one: Row, other: Row) -> str:
    """Says so where two means lie within their standard deviations."""
    spread: list[Any] = [row.get("recall@20_sd") for row in (one, other)]
    if None in spread or "" in spread:
        return ""
    within = abs(one["recall@20"] - other["recall@20"]) <= sum(spread)
    return " (within the spread)" if within else ""
