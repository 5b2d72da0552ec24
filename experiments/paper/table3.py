r"""Table 3: winning tickets beside LCM, PEP and MagPrune, at 50 and 75% sparsity of tables of 64 and 128 dimensions.

    python -m experiments.paper.table3                                         (seconds, to see that it works)
    python -m experiments.paper.table3 --scale cpu --models mf --seeds 3
    python -m experiments.paper.table3 --scale paper --data yelp2018 --models lightgcn

LCM maps the trained dense table to half and a quarter of its dimensions; PEP trains thresholds until so many entries
are 0, and trains the survivors again (of a few searches the one that is best on validation); MagPrune sets the smallest
weights of the dense table to 0 and trains nothing.
Tickets are pruned in seven steps to each half, or, where `scales.ON_CPU` has few levels, by those, as in figure3. Both
hit the two sparsities exactly. A method that does not reach a sparsity says so, and leaves its cell empty. Larger data
have F = 64 alone at scale cpu.

Cost, bundled data: quick 20 s for two seeds of MF on 2 CPU cores; cpu 35 minutes of one core for three seeds of MF,
26 of LightGCN after figure3. Scale paper is for a GPU: some 20 trainings of up to 1000 epochs for each size and model.
"""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from experiments import cli
from experiments.paper import panels, scales
from experiments.paper.rows import (
    Row,
    bold_if_winning,
    grouped,
    in_digits,
    markdown,
    nearest_row,
    over_seeds,
    same_columns,
    with_warning,
    write_study,
)
from experiments.paper.runs import Runs, kept_on_disk, runs_of
from experiments.paper.scales import Study
from lthjax import plots
from lthjax.errors import TrainingError
from lthjax.plots.style import baseline, finish
from lthjax.settings import Settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lthjax.baselines.records import Search
    from lthjax.search.problem import Problem
    from lthjax.tickets.result import Result
    from lthjax.tickets.ticket import Ticket

SPARSITIES = (0.5, 0.75)
METHODS = ("LCM", "PEP", "MagPrune", "ticket")
DIMS = {"quick": (8,), "cpu": (64, 128), "paper": (64, 128)}
DIMS_OF_LARGER = (64,)
PAPER = {  # (data, dim) -> method -> Recall@20 at 50 and 75%, then NDCG@20; LightGCN; Wang et al., table 3
    ("yelp2018", 64): {
        "LCM": (0.0558, 0.0459, 0.0460, 0.0374),
        "PEP": (0.0584, 0.0570, 0.0473, 0.0459),
        "ticket": (0.0635, 0.0609, 0.0525, 0.0500),
    },
    ("yelp2018", 128): {
        "LCM": (0.0610, 0.0537, 0.0493, 0.0438),
        "PEP": (0.0627, 0.0601, 0.0507, 0.0483),
        "ticket": (0.0666, 0.0651, 0.0545, 0.0530),
    },
}


def schedule(steps: int) -> str:
    """Sparsities that halve what is kept in `steps` equal shares, twice: exactly 0.5 and 0.75 are among them."""
    return ",".join(f"{1 - 0.5 ** (number / steps):.6g}" for number in range(1, 2 * steps + 1))


def dims_of(study: Study, data: str) -> tuple[int, ...]:
    """Sizes of the tables."""
    return DIMS_OF_LARGER if scales.is_larger(study, data) else DIMS[study.scale]


def changes_of(study: Study, data: str, model: str) -> dict[str, str]:
    """What makes the scale's schedule one with both sparsities: nothing where it has few levels, or `schedule`.

    Args:
      study: the flags.
      data: name or path.
      model: backbone.
    """
    if scales.has_few_levels(study, data, model):
        return {}
    return {"sparsities": schedule(1 if study.scale == "quick" else 7)}


def searches_of(study: Study, settings: Settings) -> "list[Search]":
    """PEP's searches to choose from: as the paper's authors ran it, or some that reach their targets on small data."""
    from lthjax.baselines.records import Search

    if study.scale == "paper":
        return [Search()]
    if study.scale == "quick":
        return [Search(granularity="row", start=-6.0, pull=0.1, learning_rate=0.1, epochs=40, check_every=1)]
    if scales.has_few_levels(study, settings.data, settings.model):
        # With the learning rate of the dense model; weights that it grows beyond 1/2 stay out of reach without more L2.
        row = Search(granularity="row", start=-15.0, pull=0.1, learning_rate=settings.learning_rate)
        row = dataclasses.replace(row, epochs=150, check_every=5)
        return [dataclasses.replace(row, l2=factor * settings.l2) for factor in (1, 3, 10)]
    # The pull of the paper's authors stops at 17% on such data.
    slow = Search(pull=1e-2, learning_rate=1e-2, epochs=300, check_every=1)
    choices = (("row", -15.0), ("row", -10.0), ("global", -10.0))
    return [dataclasses.replace(slow, granularity=shape, start=start) for shape, start in choices]


def main(study: Study) -> list[Row]:
    """Train what is missing, write and print the table; returns all rows."""
    rows = []
    for data, model in itertools.product(study.data, study.models):
        for dim in dims_of(study, data):
            runs = runs_of(study, data, model, dim=dim, **changes_of(study, data, model))
            labels = {"data": Path(data).stem, "model": model, "dim": dim}
            rows += [labels | row for row in rows_of_methods(runs)]
    write_study(study, "table3", same_columns(rows), text_of(study, rows), drawing_of(rows))
    return rows


def rows_of_methods(runs: Runs) -> list[Row]:
    """The dense model, the tickets, and each rival at each sparsity that it reaches with all seeds."""
    with starts(runs) as each_seed:
        search, reason = chosen_search(searches_of(runs.study, runs.settings), each_seed[0])
        results = [rivals_of(start, search) for start in each_seed]
    dense, *tickets = runs.rows()
    rows = [{"variant": "dense"} | dense, *({"variant": "ticket"} | row for row in tickets)]
    for method, sparsity in itertools.product(METHODS[:-1], SPARSITIES):
        of_seeds = [of_seed[method, sparsity] for of_seed in results if (method, sparsity) in of_seed]
        if len(of_seeds) == len(results):
            of_pep = {"search": reason} if method == "PEP" else {}
            rows.append({"variant": method} | _mean(of_seeds) | of_pep)
    return rows


class Start(NamedTuple):
    """What the rivals of one seed start from, and where their results go."""

    problem: "Problem"
    dense: "Ticket"
    folder: Path


@contextlib.contextmanager
def starts(runs: Runs) -> "Iterator[list[Start]]":
    """Each seed's start, its dense model trained where it is missing.

    Other processes are kept out of the folders, whose config.json says what was run with which commit.
    """
    from lthjax.search.problem import prepare
    from lthjax.tickets.folder import open_folder
    from lthjax.tickets.identity import describe

    problem = prepare(runs.split, runs.settings)
    each_seed = []
    with contextlib.ExitStack() as stack:
        for seed, dense in zip(runs.seeds, runs.dense_models(), strict=True):
            of_seed, folder = problem.with_seed(seed), runs.rivals_folder / f"seed_{seed}"
            stack.enter_context(open_folder(folder, describe(of_seed.settings, runs.split)))
            each_seed.append(Start(of_seed, dense, folder))
        yield each_seed


def chosen_search(choices: "Sequence[Search]", start: Start) -> "tuple[Search, str]":
    """The search that serves PEP best, and in words which it is and what it was chosen by.

    Chosen by the highest mean validation Recall@20 over the sparsities, of the seed that is given; one that does not
    reach a sparsity counts as 0 there.
    """

    def name_of(search: "Search") -> str:
        l2 = start.problem.settings.l2 if search.l2 is None else search.l2
        return f"{search.granularity} from {search.start:g}, L2 {l2:g}"

    if len(choices) == 1:
        return choices[0], f"{name_of(choices[0])} (the only one tried)"
    worths = [sum(result.metrics["valid_recall@20"] for _, result in pep_of(start, search)) for search in choices]
    means = [f"{name_of(search)}: {worth / len(SPARSITIES):.4f}" for search, worth in zip(choices, worths, strict=True)]
    best = choices[worths.index(max(worths))]
    return best, f"{name_of(best)} (validation Recall@20 of {'; '.join(means)})"


def rivals_of(start: Start, search: "Search") -> "dict[tuple[str, float], Result]":
    """(method, sparsity asked for) -> result of one seed; those that are on disk are read."""
    from lthjax.baselines import records

    problem, dense, folder = start
    of_methods = {
        "LCM": _kept(folder, "LCM", functools.partial(records.lcm, problem, dense)),
        "MagPrune": _kept(folder, "MagPrune", functools.partial(records.magnitude_pruning, problem, dense)),
        "PEP": pep_of(start, search),
    }
    return {(method, sparsity): result for method, results in of_methods.items() for sparsity, result in results}


def pep_of(start: Start, search: "Search") -> "Iterator[tuple[float, Result]]":
    """(sparsity asked for, result) of PEP with one seed, as far as it gets; says so where that is not all the way."""
    from lthjax.baselines import records

    problem, dense, folder = start
    name = f"PEP-{hashlib.sha256(repr(search).encode()).hexdigest()[:8]}"
    try:
        yield from _kept(folder, name, functools.partial(records.pep, problem, dense, search=search))
    except TrainingError as error:
        settings = problem.settings
        print(f"{Path(settings.data).stem}, {settings.model}, F = {settings.dim}: {error}")


def _kept(
    folder: Path, name: str, make: "Callable[[list[float]], Iterator[Result]]"
) -> "Iterator[tuple[float, Result]]":
    """(sparsity asked for, result) of a method; those that are on disk are read."""
    folders = {sparsity: folder / f"{name}-{sparsity:g}" for sparsity in SPARSITIES}
    made = make([sparsity for sparsity, of_result in folders.items() if not of_result.exists()])
    for sparsity, of_result in folders.items():
        yield sparsity, kept_on_disk(of_result, lambda: next(made))


def _mean(results: "Sequence[Result]") -> Row:
    """The row of one seed, or means over the seeds; such rows have no verdict of their own."""
    first = results[0].row()
    if len(results) == 1:
        return first
    means = over_seeds([result.metrics for result in results])
    sparsity = sum(result.sparsity for result in results) / len(results)
    return {name: first[name] for name in ("num_kept", "selection", "settings")} | means | {"sparsity": sparsity}


def text_of(study: Study, rows: Sequence[Row]) -> str:
    """A line for each method, ours and where there is one the paper's; winning tickets in bold."""
    lines, searches = [], ""
    for (data, model, dim), of_table in _by_table(rows).items():
        paper = PAPER.get((data, dim), {}) if model == "lightgcn" else {}
        lines += [[data, plots.MODELS[model], dim, *line] for line in _lines(of_table, paper)]
        for search in dict.fromkeys(row["search"] for row in of_table if row["variant"] == "PEP"):
            searches += f" PEP's search, {data}, {plots.MODELS[model]}, F = {dim}: {search}."
    header = ["data", "model", "F", "", *(f"{name} {s:.0%}" for name in ("Recall@20", "NDCG@20") for s in SPARSITIES)]
    schedules = [
        scales.settings_of(study, data, model, **changes_of(study, data, model)).schedule
        for data, model in itertools.product(study.data, study.models)
    ]
    steps = sorted({sum(sparsity <= SPARSITIES[-1] for sparsity in schedule) for schedule in schedules})
    note = f"Bold: winning tickets, pruned in {' or '.join(map(str, steps))} steps to {SPARSITIES[-1]:.0%}; "
    note += f"{scales.in_words(study, varied=['dim', 'sparsities'])}. The dense model stands in the first column."
    text = with_warning(note + searches, rows)
    return f"## Tickets beside other compressed tables\n\n{markdown(header, lines)}\n\n{text}"


def _lines(rows: Sequence[Row], paper: Mapping[str, Sequence[float]]) -> Iterator[list[str | None]]:
    """The lines of one data set, model and size."""
    dense = next(row for row in rows if row["variant"] == "dense")
    yield ["dense, ours", in_digits(dense, "recall@20"), None, in_digits(dense, "ndcg@20"), None]
    for method in METHODS:
        # Only tickets are called winning.
        write = functools.partial(bold_if_winning, dense=dense) if method == "ticket" else in_digits
        at_sparsities = _at_sparsities(rows, method)
        yield [f"{method}, ours", *(write(row, name) for name in ("recall@20", "ndcg@20") for row in at_sparsities)]
        if method in paper:
            yield [f"{method}, paper", *(f"{value:.4f}" for value in paper[method])]


def _by_table(rows: Sequence[Row]) -> dict[tuple[str, str, int], list[Row]]:
    return grouped(rows, "data", "model", "dim")


def _at_sparsities(rows: Sequence[Row], method: str) -> list[Row | None]:
    of_method = [row for row in rows if row["variant"] == method]
    return [nearest_row(of_method, sparsity, within=0.02) for sparsity in SPARSITIES]


def drawing_of(rows: Sequence[Row]) -> "Callable[[Figure], None]":
    """A panel for each data set, model and size."""

    def draw(figure: "Figure") -> None:
        tables = _by_table(rows)
        num_columns = min(2, len(tables))
        names: list[str | None] = [f"{data}, {plots.MODELS[model]}, F = {dim}" for data, model, dim in tables]
        names += [None] * (-len(names) % num_columns)
        titles = [names[first : first + num_columns] for first in range(0, len(names), num_columns)]
        grid = panels.titled_grid(figure, titles, (5 * num_columns, 3.6 * len(titles)))
        for of_table, ax in zip(tables.values(), grid.ravel(), strict=False):
            panel(of_table, ax)

    return draw


def panel(rows: Sequence[Row], ax: "Axes") -> "Axes":
    """Recall@20 of all methods side by side at each sparsity, bars one standard deviation over seeds; dense dotted.

    Args:
      rows: of one data set, model and size.
      ax: where to draw.
    """
    dense = next(row for row in rows if row["variant"] == "dense")["recall@20"]
    ax.axhline(dense, **baseline(), linewidth=1, label=f"dense, {dense:.4f}")
    for number, method in enumerate(METHODS):
        reached = {at: row for at, row in enumerate(_at_sparsities(rows, method)) if row is not None}
        marker = plots.style("IMP" if method == "ticket" else method, 0) | {"linestyle": "none", "markersize": 7}
        x = [at + 0.15 * (number - (len(METHODS) - 1) / 2) for at in reached]
        spread = [row.get("recall@20_sd") or 0 for row in reached.values()]
        label = method if reached else f"{method}: not reached"
        ax.errorbar(x, [row["recall@20"] for row in reached.values()], spread, label=label, capsize=3, **marker)
    ax.set_xticks(range(len(SPARSITIES)), [f"{100 * sparsity:g}" for sparsity in SPARSITIES])
    ax.set_xlim(-0.5, len(SPARSITIES) - 0.5)
    finish(ax, panels.PRUNED, "test Recall@20", loc="lower left")
    ax.xaxis.grid(False)
    return ax


if __name__ == "__main__":
    cli.run(main, Study, __doc__)
