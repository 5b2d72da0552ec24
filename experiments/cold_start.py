r"""Cold start: how good is a ticket for users and items that it was not trained on?

    python -m experiments.cold_start                                     (seconds, to see that it works)
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
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

import lthjax
from experiments import cli
from experiments.paper import studies
from lthjax import plots, presets
from lthjax.errors import DataError, SettingsError
from lthjax.settings import Settings

if TYPE_CHECKING:
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
class Config(studies.Study):
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


def main(config: Config) -> list[studies.Row]:
    """Train what is missing, fold in, write table and picture; returns all rows."""
    rows = []
    for data in config.data:
        for model in config.models:
            settings = studies.settings_of(config, data, model, sparsities=SPARSITIES[config.scale])
            split = lthjax.load_split(None, settings)
            new = {side: draw_new(split, side, settings.split_seed) for side in ("user", "item")}
            whole = with_support(split, new)
            for side in dict.fromkeys(word.removesuffix("s") for word in config.new):
                held = hold_out(whole, side, new[side], settings)
                labels = {"data": Path(data).stem, "model": model}
                rows += [labels | row for row in compare(config, settings, whole, held)]
    studies.write(config, "cold_start", rows, text_of(config, rows), drawing_of(rows))
    return rows


def draw_new(split: "Split", side: Literal["user", "item"], seed: int) -> np.ndarray:
    """[R] a fifth of the users, or items, with both support and test interactions, ascending.

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

    from lthjax.evaluation import ranking as evaluate

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
    tasks = {f"{side}s": evaluate.ranking_task(seen, query, whole.num_users)}
    if side == "item":
        theirs = whole.test[np.isin(whole.test[:, 0], query[:, 0])]
        tasks["items, all test items"] = evaluate.ranking_task(seen, theirs, whole.num_users)
    return Holdout(side, new, known, rest, support, tasks)


def compare(config: Config, settings: Settings, whole: "Split", held: Holdout) -> list[studies.Row]:
    """Rows of one model on one holdout: each task, way and level, means over the seeds."""
    from lthjax.evaluation.ranking import evaluate
    from lthjax.search import problem as jobs
    from lthjax.tickets import ticket as tickets

    found: dict[tuple[str, str, int], list[_Measured]] = {}

    def add(way: str, final: "Embeddings", ticket: "Ticket | None", kept: float) -> None:
        level, sparsity = (ticket.level, ticket.sparsity) if ticket else (0, 0.0)
        for name, task in held.tasks.items():
            measured = _Measured(sparsity, kept, tickets.per_user(evaluate(final, task)))
            found.setdefault((name, way, level), []).append(measured)

    for ticket in studies.tickets_of(config, whole, _named(settings, whole)):
        job = jobs.prepare(whole, tickets.settings_of(ticket))
        kept = np.asarray(getattr(ticket.masks, held.side))[held.new]
        add("retrained", job.program.embed(ticket.trained, job.graph), ticket, float(kept.mean()))
    for ticket in studies.tickets_of(config, held.rest, _named(settings, held.rest)):
        for way, options in WAYS[settings.model].items():
            final, share = folded(ticket, held, options)
            add(way, final, ticket, share)
    add("popularity", popularity(whole), None, 0.0)
    facts = {"selection": settings.selection, "settings": presets.title(settings), "num_new": len(held.new)}
    return [
        {"new": name, "variant": way, "level": level} | _summary(each, found[name, "retrained", level]) | facts
        for (name, way, level), each in found.items()
    ]


def folded(ticket: "Ticket", held: Holdout, options: dict[str, Any]) -> "tuple[Embeddings, float]":
    """Final embeddings of all users and items, the new ones folded in; and the share of entries that those keep."""
    from lthjax.embeddings import Embeddings

    made = lthjax.fold_in(ticket, held.rest, held.support, held.side, **options)
    old = np.asarray(getattr(made.known, held.side))
    table = np.empty((len(held.new) + len(held.known), old.shape[1]), old.dtype)
    table[held.known], table[held.new] = old, made.final
    final = Embeddings(*made.known)._replace(**{held.side: table})
    return final, 0.0 if made.masks is None else float(made.masks.mean())


def popularity(split: "Split") -> "Embeddings":
    """Final embeddings, of one dimension, that rank items by their training interactions for everyone."""
    from lthjax.embeddings import Embeddings

    count = np.bincount(split.train[:, 1], minlength=split.num_items).astype(np.float32)
    return Embeddings(np.ones((split.num_users, 1), np.float32), count[:, None])


def _summary(each: list[_Measured], retrained: list[_Measured]) -> studies.Row:
    """Means over seeds of one way at one level, and its difference to "retrained" at the same level."""
    from lthjax.evaluation import statistics

    row: studies.Row = {"sparsity": each[0].sparsity, "kept": float(np.mean([one.kept for one in each]))}
    for name in ("recall@20", "ndcg@20"):
        means = np.asarray([one.per_user[name].mean(dtype=np.float64) for one in each])
        row[name] = float(means.mean())
        if len(retrained) > 1:
            row[f"{name}_sd"] = float(means.std(ddof=1)) if len(means) > 1 else None  # popularity has no seeds
    ours, theirs = (np.asarray([m.per_user["recall@20"] for m in those], np.float64) for those in (each, retrained))
    effect = statistics.crossed_effect(ours - theirs)
    row |= {"difference": effect.mean, "interval_low": effect.low, "interval_high": effect.high}
    return row | {"num_users": ours.shape[1], "num_seeds": len(each)}


def _named(settings: Settings, split: "Split") -> Settings:
    """The settings with the split's name for data: it is made here, and its runs have folders of their own."""
    return dataclasses.replace(settings, data=f"<{split.name}>".replace(" ", "-"))


def _sorted(pairs: np.ndarray) -> np.ndarray:
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def text_of(config: Config, rows: list[studies.Row]) -> str:
    """A line for each way: Recall and NDCG at each sparsity."""
    levels = sorted({row["level"] for row in rows})
    lines = []
    for key in dict.fromkeys((row["data"], row["model"], row["new"], row["variant"]) for row in rows):
        those = {row["level"]: row for row in rows if (row["data"], row["model"], row["new"], row["variant"]) == key}
        cells = [studies.value(those.get(level), name) for name in ("recall@20", "ndcg@20") for level in levels]
        lines.append([key[0], plots.MODELS[key[1]], *key[2:], *cells])
    at = {row["level"]: row["sparsity"] for row in rows}
    columns = [f"{name} {at[level]:.0%}" for name in ("Recall@20", "NDCG@20") for level in levels]
    note = f"Test part, {studies.scale_of(config, sparsities=SPARSITIES[config.scale])}. "
    sizes = {(row["data"], row["new"]): (row["num_new"], row["num_users"]) for row in rows}
    note += " ".join(
        f"{data}: {count:,} new {new}, measured for {users:,} users." for (data, new), (count, users) in sizes.items()
    )
    table = studies.markdown(["data", "model", "new", "", *columns], lines)
    return f"## New users and items\n\n{table}\n\n{studies.warned(note, rows)}"


def drawing_of(rows: list[studies.Row]) -> "Callable[[Figure], None]":
    """A panel for each data set, model, and what is new: Recall against sparsity."""

    def draw(figure: "Figure") -> None:
        across = list(dict.fromkeys((row["data"], row["model"]) for row in rows))
        down = list(dict.fromkeys(row["new"] for row in rows))
        figure.set_size_inches(5 * len(across) + 1, 3.8 * len(down))
        axes = figure.subplots(len(down), len(across), squeeze=False)
        for place in np.ndindex(axes.shape):
            new, (data, model) = down[place[0]], across[place[1]]
            those = [row for row in rows if (row["data"], row["model"], row["new"]) == (data, model, new)]
            _panel(axes[place], those)
            axes[place].set_title(f"new {new}, {data}, {plots.MODELS[model]}", fontsize="medium", parse_math=False)

    return draw


def _panel(ax: Any, rows: list[studies.Row]) -> None:
    ways = [way for way in dict.fromkeys(row["variant"] for row in rows) if way != "popularity"]
    for place, way in enumerate(ways):
        those = [row for row in rows if row["variant"] == way]
        look = plots.style(way, place)
        sparsity, recall = (np.asarray([row[name] for row in those]) for name in ("sparsity", "recall@20"))
        spread = np.asarray([row.get("recall@20_sd", 0.0) for row in those])
        ax.fill_between(100 * sparsity, recall - spread, recall + spread, color=look["color"], alpha=0.12, linewidth=0)
        ax.plot(100 * sparsity, recall, label=way, **look)
    popular = next(row["recall@20"] for row in rows if row["variant"] == "popularity")
    ax.axhline(popular, color="0.35", linestyle=":", label="popularity")
    ax.set_xlabel("entries pruned (%)")
    ax.set_ylabel("test Recall@20")
    ax.set_ylim(bottom=0)
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, fontsize="small")


if __name__ == "__main__":
    cli.run(main, Config, __doc__)
