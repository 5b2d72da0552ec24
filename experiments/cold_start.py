r"""Cold start: how good is a ticket for users and items that it was not trained on?

    python -m experiments.cold_start                                     (minutes, to see that it works)
    python -m experiments.cold_start --scale cpu --seeds 3
    python -m experiments.cold_start --scale paper --data yelp2018

A fifth of the users (of those with test items) is new: the data are split without them, tickets are found, and the new
users are folded in (`lthjax.fold_in`) from their support, all of their interactions but the test part. Recall@20 and
NDCG@20 are theirs, of their test items among all that are not in their support. Then the same with a fifth of the
items (of those with both support and test): relevant are the new items in a user's test part, ranked among all items,
known and new, for the users who have any. That alone would reward whoever lifts new items above known ones, so the same
lists are judged by all test items of these users too.

Beside it stand tickets that were found on all users and items, the new ones' support included ("retrained"), at the
same sparsities, and the most popular items. Which are new is drawn once, by the split's seed: seeds differ in training
alone. The interval is of the difference to "retrained", new users and seeds as samples.

Cost, bundled data: quick 95 s of one core for all; cpu not timed as a whole. Scale paper is for a GPU.
"""

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

import lthjax
from experiments import cli
from experiments.paper import panels, scales
from experiments.paper.rows import Row, grouped, in_digits, markdown, with_warning, write_study
from experiments.paper.runs import Runs
from experiments.paper.scales import Study
from lthjax import plots, presets
from lthjax.errors import DataError, SettingsError
from lthjax.plots.style import baseline, finish, legend_below
from lthjax.settings import Settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lthjax.data.split import Split
    from lthjax.embeddings import Embeddings
    from lthjax.evaluation.ranking import RankingTask
    from lthjax.tickets.ticket import Ticket

SHARE = 0.2  # of users, and of items, that are new
SPARSITIES = {"quick": "0.5", "cpu": "0.25,0.5,0.75,0.9", "paper": "0.25,0.5,0.75,0.9"}
WAYS: dict[str, dict[str, dict[str, Any]]] = {  # model -> name -> options of fold_in
    "mf": {f"folded in, {keep}": {"keep": keep} for keep in ("mean", "degree", "dense")},
    "lightgcn": {"folded in": {}, "folded in, layer 0 trained": {"steps": 300}},
}
New = Literal["users", "items"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Study):
    """The flags of every figure and table, and what is new."""

    new: tuple[New, ...] = ("users", "items")
    """What is held out of training."""

    def __post_init__(self):
        super().__post_init__()
        if not self.new:
            raise SettingsError("--new: wanted at least one of users and items; got none.")


class Holdout(NamedTuple):
    """New users or items, the data without them, and the ranking that they are judged by."""

    side: Literal["user", "item"]
    new: np.ndarray  # [R] numbers in the whole data, ascending
    known: np.ndarray  # [M - R] or [N - R], the others
    rest: "Split"  # without the new ones, the known ones numbered anew
    support: Any  # CSR [R, N], or [R, M] for items: what each new one has met
    tasks: "dict[str, RankingTask]"  # what counts as a hit; users and items numbered as in the whole data


class _Measured(NamedTuple):
    """One seed of one way at one level."""

    sparsity: float  # of the ticket
    kept: float  # share of the new rows' entries
    per_user: dict[str, np.ndarray]  # "recall@20" -> [U]


def main(config: Config) -> list[Row]:
    """Train what is missing, fold in, write table and picture; returns all rows."""
    rows = []
    for data, model in itertools.product(config.data, config.models):
        settings = scales.settings_of(config, data, model, sparsities=SPARSITIES[config.scale])
        split = lthjax.load_split(None, settings)
        new = {side: draw_new(split, side, settings.split_seed) for side in ("user", "item")}
        # Splits made here, which no settings name: their runs have folders of their own.
        whole = Runs(config, dataclasses.replace(settings, data=None), with_support(split, new))
        for side in dict.fromkeys(word.removesuffix("s") for word in config.new):
            held_out = hold_out(whole.split, side, new[side], settings)
            labels = {"data": Path(data).stem, "model": model}
            rows += [labels | row for row in compare(whole, held_out)]
    write_study(config, "cold_start", rows, text_of(config, rows), drawing_of(rows))
    return rows


def draw_new(split: "Split", side: Literal["user", "item"], seed: int) -> np.ndarray:
    """[R] a fifth of the users, or items, with both support and test interactions, ascending.

    Args:
      split: to draw from.
      side: what is new.
      seed: of the draw.

    Raises:
      DataError: there are too few.
    """
    column = ("user", "item").index(side)
    support = np.concatenate([split.train, split.valid])[:, column]
    able = np.intersect1d(support, split.test[:, column])
    count = round(SHARE * len(able))
    if count < 1:
        raise DataError(f"{split.name}: wanted some {side}s with test items to hold out; got {len(able)}.")
    draws = np.random.default_rng([seed, column])
    return np.sort(draws.choice(able, count, replace=False))


def with_support(split: "Split", new: dict[str, np.ndarray]) -> "Split":
    """The split with all validation interactions of new users and items in train: what "retrained" may learn from."""
    moves = np.isin(split.valid[:, 0], new["user"]) | np.isin(split.valid[:, 1], new["item"])
    train = _sorted(np.concatenate([split.train, split.valid[moves]]))
    name = f"{split.name} with all support"
    return dataclasses.replace(split, name=name, train=train, valid=split.valid[~moves])


def hold_out(whole: "Split", side: Literal["user", "item"], new: np.ndarray, settings: Settings) -> Holdout:
    """Take new users or items out of the whole.

    Args:
      whole: of `with_support`, so that the new ones' interactions are in train or test.
      side: what is new.
      new: [R] their numbers.
      settings: `test_mask` says what is left out of the ranking.
    """
    from scipy import sparse

    from lthjax.evaluation.ranking import ranking_task

    column = ("user", "item").index(side)
    sizes = [whole.num_users, whole.num_items]
    known = np.setdiff1d(np.arange(sizes[column]), new)
    renumbered = np.full(sizes[column], -1, np.int32)
    renumbered[known] = np.arange(len(known))

    def without(pairs: np.ndarray) -> np.ndarray:
        pairs = pairs[renumbered[pairs[:, column]] >= 0].copy()
        pairs[:, column] = renumbered[pairs[:, column]]
        return pairs

    ids = f"{side}_ids"
    parts = {part: without(getattr(whole, part)) for part in ("train", "valid", "test")}
    rest = dataclasses.replace(
        whole, name=f"{whole.name} without new {side}s", **{ids: getattr(whole, ids)[known]}, **parts
    )
    is_new = renumbered < 0
    support = whole.train[is_new[whole.train[:, column]]]
    support = sparse.csr_array(
        (np.ones(len(support)), (np.searchsorted(new, support[:, column]), support[:, 1 - column])),
        shape=(len(new), sizes[1 - column]),
    )
    seen = whole.train if settings.test_mask == "train" else np.concatenate([whole.train, whole.valid])
    query = whole.test[is_new[whole.test[:, column]]]
    tasks = {f"{side}s": ranking_task(seen, query, whole.num_users)}
    if side == "item":
        of_same_users = whole.test[np.isin(whole.test[:, 0], query[:, 0])]
        tasks["items, all test items"] = ranking_task(seen, of_same_users, whole.num_users)
    return Holdout(side, new, known, rest, support, tasks)


def compare(whole: Runs, held_out: Holdout) -> list[Row]:
    """Rows of one model on one holdout: each task, way and level, means over the seeds.

    Args:
      whole: on all users and items.
      held_out: what is new; the same is run on the data without it.
    """
    from lthjax.evaluation.ranking import evaluate
    from lthjax.search.problem import prepare

    measured: dict[tuple[str, str, int], list[_Measured]] = {}  # (task, way, level) -> of each seed

    def add(way: str, final: "Embeddings", ticket: "Ticket | None", kept: float) -> None:
        level, sparsity = (ticket.level, ticket.sparsity) if ticket else (0, 0.0)
        for name, task in held_out.tasks.items():
            of_seed = _Measured(sparsity, kept, evaluate(final, task).per_user)
            measured.setdefault((name, way, level), []).append(of_seed)

    for ticket in whole.tickets():
        problem = prepare(whole.split, ticket.settings)
        kept = np.asarray(getattr(ticket.masks, held_out.side))[held_out.new]
        add("retrained", problem.program.embed(ticket.trained, problem.graph), ticket, float(kept.mean()))
    for ticket in dataclasses.replace(whole, split=held_out.rest).tickets():
        for way, options in WAYS[ticket.settings.model].items():
            final, share = folded(ticket, held_out, options)
            add(way, final, ticket, share)
    add("popularity", popularity(whole.split), None, 0.0)
    settings = whole.settings
    facts = {"selection": settings.selection, "settings": presets.title(settings), "num_new": len(held_out.new)}
    return [
        {"new": name, "variant": way, "level": level} | _summary(seeds, measured[name, "retrained", level]) | facts
        for (name, way, level), seeds in measured.items()
    ]


def folded(ticket: "Ticket", held_out: Holdout, options: dict[str, Any]) -> "tuple[Embeddings, float]":
    """Final embeddings of all users and items, the new ones folded in; and the share of entries that those keep.

    Args:
      ticket: found without them.
      held_out: what is new.
      options: of `fold_in`.
    """
    from lthjax.embeddings import Embeddings

    new = lthjax.fold_in(ticket, held_out.rest, held_out.support, held_out.side, **options)
    known = np.asarray(getattr(new.known, held_out.side))
    table = np.empty((len(held_out.new) + len(held_out.known), known.shape[1]), known.dtype)
    table[held_out.known], table[held_out.new] = known, new.final
    final = Embeddings(*new.known)._replace(**{held_out.side: table})
    return final, 0.0 if new.masks is None else float(new.masks.mean())


def popularity(split: "Split") -> "Embeddings":
    """Final embeddings, of one dimension, that rank items by their training interactions for everyone."""
    from lthjax.embeddings import Embeddings

    count = np.bincount(split.train[:, 1], minlength=split.num_items).astype(np.float32)
    return Embeddings(np.ones((split.num_users, 1), np.float32), count[:, None])


def _summary(seeds: list[_Measured], retrained: list[_Measured]) -> Row:
    """Means over seeds of one way at one level, and its difference to "retrained" at the same level."""
    from lthjax.evaluation import statistics

    row: Row = {"sparsity": seeds[0].sparsity, "kept": float(np.mean([seed.kept for seed in seeds]))}
    for name in ("recall@20", "ndcg@20"):
        means = np.asarray([seed.per_user[name].mean(dtype=np.float64) for seed in seeds])
        row[name] = float(means.mean())
        if len(retrained) > 1:
            row[f"{name}_sd"] = float(means.std(ddof=1)) if len(means) > 1 else None  # popularity has no seeds
    ours, theirs = (
        np.asarray([seed.per_user["recall@20"] for seed in of_way], np.float64) for of_way in (seeds, retrained)
    )
    effect = statistics.crossed_effect(ours - theirs)
    row |= {"difference": effect.mean, "interval_low": effect.low, "interval_high": effect.high}
    return row | {"num_users": ours.shape[1], "num_seeds": len(seeds)}


def _sorted(pairs: np.ndarray) -> np.ndarray:
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def text_of(config: Config, rows: list[Row]) -> str:
    """A line for each way: Recall and NDCG at each sparsity."""
    sparsities = {row["level"]: row["sparsity"] for row in rows}
    levels = sorted(sparsities)
    lines = []
    for (data, model, new, way), of_way in grouped(rows, "data", "model", "new", "variant").items():
        at = {row["level"]: row for row in of_way}
        cells = [in_digits(at.get(level), name) for name in ("recall@20", "ndcg@20") for level in levels]
        lines.append([data, plots.MODELS[model], new, way, *cells])
    columns = [f"{name} {sparsities[level]:.0%}" for name in ("Recall@20", "NDCG@20") for level in levels]
    note = f"Test part, {scales.in_words(config, sparsities=SPARSITIES[config.scale])}. "
    sizes = {(row["data"], row["new"]): (row["num_new"], row["num_users"]) for row in rows}
    note += " ".join(
        f"{data}: {count:,} new {new}, measured for {users:,} users." for (data, new), (count, users) in sizes.items()
    )
    table = markdown(["data", "model", "new", "", *columns], lines)
    return f"## New users and items\n\n{table}\n\n{with_warning(note, rows)}"


def drawing_of(rows: list[Row]) -> "Callable[[Figure], None]":
    """A panel for each data set, model, and what is new: Recall against sparsity."""

    def draw(figure: "Figure") -> None:
        of_panels = grouped(rows, "new", "data", "model")
        across = list(dict.fromkeys((data, model) for _, data, model in of_panels))
        down = list(dict.fromkeys(new for new, _, _ in of_panels))
        titles = [[f"new {new}, {data}, {plots.MODELS[model]}" for data, model in across] for new in down]
        grid = panels.titled_grid(figure, titles, (5 * len(across) + 1, 3.8 * len(down)))
        for (new, *cell), of_panel in of_panels.items():
            _panel(of_panel, grid[down.index(new), across.index(tuple(cell))])

    return draw


def _panel(rows: list[Row], ax: "Axes") -> None:
    of_ways = {way: of_way for (way,), of_way in grouped(rows, "variant").items()}
    popular = of_ways.pop("popularity")[0]["recall@20"]
    panels.draw_curves(ax, [panels.with_deviations(way, of_way, "recall@20") for way, of_way in of_ways.items()])
    ax.axhline(popular, **baseline(), label="popularity")
    finish(ax, panels.PRUNED, "test Recall@20")
    legend_below(ax)


if __name__ == "__main__":
    cli.run(main, Config, __doc__)
