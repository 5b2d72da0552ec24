r"""What do the tickets of a run cost where they serve: bytes, milliseconds, multiply-adds, Recall?

    python -m experiments.cost_report runs/mine
    python -m experiments.cost_report runs/mine --out reports/mine --repeats 9

Exports every finished ticket of the run folder in each layout, loads the files again, and times the 20 best items of 1
user and of 1,000, seen items left out. Writes results.csv, table.md and figure.png. Milliseconds are medians.

Bytes are those of the two tables in real files. Of LightGCN, "bitmap", "CSR", "float16" and "int8" are the layer-0
table, which is propagated when the file is loaded; "dense" are the propagated tables, and so is dense scoring; "final
pruned" are the propagated tables without as large a share of their smallest values as the ticket has pruned, and so is
sparse scoring. Of MF it is the trained table throughout.
"""

import dataclasses
import functools
import itertools
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

import lthjax
from experiments import cli
from experiments.paper import panels
from experiments.paper.rows import Row, markdown, write_results
from experiments.speed import timing
from lthjax import metric_names, plots
from lthjax.errors import CheckpointError, SettingsError
from lthjax.plots.style import finish

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lthjax.embeddings import Embeddings
    from lthjax.search.problem import Problem
    from lthjax.serving.compressed import CompressedTicket
    from lthjax.serving.file_format import Tables
    from lthjax.tickets.ticket import Ticket

_K = 20
_MANY = 1000  # users of the larger request; with fewer in the data, some ask twice
_FILES = {  # column -> how it is exported
    "dense": {"layout": "dense"},
    "bitmap": {"layout": "bitmap", "store": "layer0"},
    "csr": {"layout": "csr", "store": "layer0"},
    "smallest": {"store": "layer0"},
    "float16": {"values": "float16", "store": "layer0"},
    "int8": {"values": "int8", "store": "layer0"},
}
_PRUNED = "final_pruned"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The run, and where the report goes."""

    run: tyro.conf.Positional[str] = ""
    """Run folder of find_tickets, finished or still being written."""
    data: str | None = None
    """Name or path of the data, where the run's settings do not say where they are now."""
    out: str | None = None
    """Folder of the report; by default RUN/cost."""
    repeats: int = 5
    """Timed repeats; the median counts."""
    picture: plots.Picture = "png"
    """Format of the picture."""

    def __post_init__(self):
        if self.repeats < 1:
            raise SettingsError(f"--repeats: wanted 1 or more; got {self.repeats}.")


def main(config: Config) -> list[Row]:
    """Measure every finished ticket, print the table and leave the report; returns one row per ticket."""
    if not config.run:
        raise SettingsError("RUN: wanted the run folder of find_tickets; got none.")
    from lthjax.exploration.run import SeedRuns
    from lthjax.search.problem import prepare

    run = lthjax.load_run(config.run, config.data)
    if isinstance(run, SeedRuns):
        first = next(iter(run.seeds.values()))
        raise SettingsError(f"RUN: wanted one run; {config.run} has one for each seed: name one, such as {first.path}.")
    if not run.tickets:
        raise CheckpointError(f"{config.run}: wanted a run with finished tickets; it has none.")
    machine = timing.machine(timing.load())
    problem = prepare(run.split, run.settings)
    rows = []
    for ticket in run.tickets:
        rows.append(measure(ticket.ticket, problem, config.repeats))
        print(f"level {ticket.level} measured", flush=True)
    text = text_of(rows, problem, timing.machine_in_words(machine))
    write_results(Path(config.out or run.path / "cost"), rows, text, drawing_of(rows), config.picture)
    return rows


def measure(ticket: "Ticket", problem: "Problem", repeats: int) -> Row:
    """The row of one ticket.

    Args:
      ticket: of the problem's split.
      problem: with the test part.
      repeats: of everything that is timed.
    """
    from lthjax.embeddings import Embeddings
    from lthjax.evaluation import costs
    from lthjax.serving.compressed import load_compressed

    worth, main = functools.partial(_worth, problem), problem.settings.main_metric
    with tempfile.TemporaryDirectory() as folder:
        files = _exported(ticket, problem, Path(folder))
        served = {name: load_compressed(path, scoring="dense") for name, path in files.items()}
        loads = timing.in_turns({"smallest": lambda: load_compressed(files["smallest"])}, repeats)
    propagates = _PRUNED in files
    tables = {name: compressed.embeddings() for name, compressed in served.items()}
    sizes = {name: compressed.sizes() for name, compressed in served.items()}
    sparse_tables = tables[_PRUNED if propagates else "dense"]
    row = {
        "level": ticket.level,
        "sparsity": ticket.sparsity,
        **{f"bytes_{name}": sizes[name]["tables"] for name in files},
        "bytes_file": sizes["smallest"]["file"],
        "bytes_file_int8": sizes["int8"]["file"],
        "load_ms": 1e3 * statistics.median(loads["smallest"]),
        "multiply_adds_dense": tables["dense"].item.size,
        "multiply_adds_sparse": costs.scoring(Embeddings(*sparse_tables)),
        main: worth(problem.program.embed(ticket.trained, problem.graph)),
        f"{main}_float16": worth(tables["float16"]),
        f"{main}_int8": worth(tables["int8"]),
    }
    if propagates:
        row[f"{main}_{_PRUNED}"] = worth(tables[_PRUNED])
    return row | latencies(tables["dense"], sparse_tables, served["dense"], repeats)


def _exported(ticket: "Ticket", problem: "Problem", folder: Path) -> dict[str, Path]:
    """The ticket's files; of LightGCN also one with pruned final tables."""
    files = {name: lthjax.export(ticket, problem.split, folder / name, **how) for name, how in _FILES.items()}
    if problem.settings.model == "lightgcn" and problem.settings.layers > 0:
        pruned = folder / _PRUNED
        files[_PRUNED] = lthjax.export(ticket, problem.split, pruned, final_sparsity=ticket.sparsity)
    return files


def latencies(tables: "Tables", sparse_tables: "Tables", served: "CompressedTicket", repeats: int) -> dict[str, float]:
    """Milliseconds to the 20 best of one user and of 1,000; on a GPU those of JAX beside them.

    Args:
      tables: dense scoring's.
      sparse_tables: sparse scoring's, dense arrays too.
      served: with the seen items and the popularity of all.
      repeats: of each.
    """
    import jax
    import numpy as np
    from scipy import sparse

    from lthjax.serving.top_k import recommend

    kinds = {
        "dense": tables,
        "sparse": (sparse.csr_array(sparse_tables.user), sparse.csc_array(sparse_tables.item)),
    }
    users = np.random.default_rng(0).integers(0, len(tables.user), _MANY)
    known = {"seen": served.seen, "counts": served.item_counts}
    sides: dict[str, Callable[[], Any]] = {}
    for count in (1, _MANY):
        for scoring, (user, item) in kinds.items():
            sides[f"ms_{count}_{scoring}"] = functools.partial(
                recommend, user, item, users[:count], _K, scoring=scoring, **known
            )
        if jax.default_backend() == "gpu":
            sides[f"ms_{count}_gpu"] = on_device(tables, served, users[:count])
    return {name: 1e3 * statistics.median(seconds) for name, seconds in timing.in_turns(sides, repeats).items()}


def on_device(tables: "Tables", served: "CompressedTicket", users: Any, k: int = _K) -> Callable[[], Any]:
    """A function that ranks with JAX what `recommend` does, tables and seen items on the device already: [B, K] items.

    Args:
      tables: final embeddings.
      served: with the seen items and the popularity of all.
      users: [B] rows.
      k: places.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    from lthjax.embeddings import Embeddings
    from lthjax.graph import id_sets

    # Of equal scores JAX takes the first: items stand in the order in which `recommend` has equals.
    order = np.argsort(-served.item_counts, kind="stable")
    final = Embeddings(jax.device_put(tables.user), jax.device_put(tables.item[order]))
    seen_users, seen_items = served.seen.pairs().T
    seen = id_sets.from_pairs(np.stack([seen_users, np.argsort(order)[seen_items]], axis=1), len(tables.user))

    @jax.jit
    def rank(users, final, seen):
        def rank_user(user):
            scores = jnp.dot(final.item, final.user[user], precision="highest")
            scores = jnp.where(scores == 0, 0.0, scores)  # -0 comes after 0 otherwise
            seen_ids = id_sets.chunk(seen, user, 0, max(seen.max_length, 1), fill=scores.shape[0])
            return jax.lax.top_k(scores.at[seen_ids].set(-jnp.inf, mode="drop"), min(k, scores.shape[0]))[1]

        return jax.lax.map(rank_user, users, batch_size=256)

    return lambda: order[np.asarray(rank(users, final, seen))]


def _worth(problem: "Problem", tables: "Tables | Embeddings") -> float:
    """The run's main metric on the test part."""
    import jax

    from lthjax.embeddings import Embeddings
    from lthjax.evaluation.ranking import evaluate

    final = Embeddings(*(jax.device_put(table) for table in tables))
    measured = evaluate(final, problem.test, problem.plan.ks, metrics=problem.plan.metrics)
    return measured.means()[problem.settings.main_metric]


def break_even(rows: Sequence[Row]) -> str:
    """From which sparsity on sparse scoring is quicker, in one sentence."""
    ordered = sorted(rows, key=lambda row: row["sparsity"])
    dense, sparse = (f"ms_{_MANY}_{scoring}" for scoring in ("dense", "sparse"))
    slower = [number for number, row in enumerate(ordered) if row[sparse] >= row[dense]]
    first = slower[-1] + 1 if slower else 0
    if first == len(ordered):
        last = ordered[-1]
        return (
            f"Sparse scoring of {_MANY:,} users does not break even in this run: at {last['sparsity']:.1%} pruned it "
            f"takes {last[sparse]:.1f} ms, dense scoring {last[dense]:.1f} ms."
        )
    here = ordered[first]
    between = f"between {ordered[first - 1]['sparsity']:.1%} and {here['sparsity']:.1%}" if first else "from the start"
    return (
        f"Sparse scoring of {_MANY:,} users breaks even {between} pruned: at {here['sparsity']:.1%} it takes "
        f"{here[sparse]:.1f} ms, dense scoring {here[dense]:.1f} ms."
    )


def text_of(rows: Sequence[Row], problem: "Problem", machine: str) -> str:
    """The table and the lines under it.

    Args:
      rows: of all tickets.
      problem: whose tickets they are.
      machine: that was timed, in words.
    """
    main = problem.settings.main_metric
    metric = metric_names.label(main)
    columns: dict[str, Callable[[Row], str]] = {
        "level": lambda row: str(row["level"]),
        "pruned": lambda row: f"{row['sparsity']:.1%}",
        **{
            f"KiB {name}": lambda row, name=name: _kib(row[f"bytes_{name}"])
            for name in ("dense", "bitmap", "csr", "int8")
        },
        "KiB file": lambda row: _kib(row["bytes_file"]),
        "load ms": lambda row: f"{row['load_ms']:.1f}",
        **{f"ms {title} {word}": _milliseconds(f"ms_{count}_{word}") for count, title, word in _timed(rows[0])},
        "multiply-adds": lambda row: f"{row['multiply_adds_sparse']:,.0f}",
        metric: lambda row: f"{row[main]:.4f}",
        "float16": lambda row: f"{row[f'{main}_float16']:.4f}",
        "int8": lambda row: f"{row[f'{main}_int8']:.4f}",
    }
    if f"bytes_{_PRUNED}" in rows[0]:
        columns["KiB final pruned"] = lambda row: _kib(row[f"bytes_{_PRUNED}"])
        columns[f"its {metric.partition('@')[0]}"] = lambda row: f"{row[f'{main}_{_PRUNED}']:.4f}"
    table = markdown(list(columns), [[cell(row) for cell in columns.values()] for row in rows])
    split, settings = problem.split, problem.settings
    note = (
        f"{split.name}, {plots.MODELS[settings.model]}, {split.num_users:,} users, {split.num_items:,} items, "
        f"F = {settings.dim}. KiB of the two tables; of the whole file with the smallest layout (ids and seen items "
        f"are in it); milliseconds to load that, and to the {_K} best items of 1 and of {_MANY:,} users; multiply-adds "
        f"without a factor of 0 for a user, of {rows[0]['multiply_adds_dense']:,}; test {metric}."
    )
    return f"## What tickets cost where they serve\n\n{table}\n\n{note}\n{machine}.\n{break_even(rows)}"


def _timed(row: Row) -> list[tuple[int, str, str]]:
    """(users, how many in words, scoring) of all that was timed."""
    words = ("dense", "sparse", "gpu")
    requests = {1: "1 user", _MANY: f"{_MANY:,} users"}
    return [(n, f"{users},", word) for n, users in requests.items() for word in words if f"ms_{n}_{word}" in row]


def _milliseconds(name: str) -> Callable[[Row], str]:
    return lambda row: f"{row[name]:.2f}"


def _kib(num_bytes: float) -> str:
    return f"{num_bytes / 2**10:,.0f}"


def drawing_of(rows: Sequence[Row]) -> "Callable[[Figure], None]":
    """Bytes, milliseconds and the main metric against sparsity, side by side; what goes by one name has one colour."""
    main, pruned = metric_names.main_of(rows[0]), _PRUNED.replace("_", " ")
    titles = ("memory", "time", "quality")
    lines = {
        "MiB of both tables": {
            "dense": "bytes_dense",
            "bitmap": "bytes_bitmap",
            "CSR": "bytes_csr",
            "int8": "bytes_int8",
            pruned: f"bytes_{_PRUNED}",
        },
        f"ms for the {_K} best of {_MANY:,} users": {
            "dense": f"ms_{_MANY}_dense",
            "sparse": f"ms_{_MANY}_sparse",
            "GPU": f"ms_{_MANY}_gpu",
        },
        f"test {metric_names.label(main)}": {
            "dense": main,
            "float16": f"{main}_float16",
            "int8": f"{main}_int8",
            pruned: f"{main}_{_PRUNED}",
        },
    }

    def draw(figure: "Figure") -> None:
        figure.set_size_inches(14, 4)
        names = list(dict.fromkeys(itertools.chain(*lines.values())))
        for ax, title, (label, columns) in zip(figure.subplots(1, 3), titles, lines.items(), strict=True):
            share = 2**-20 if label.startswith("MiB") else 1
            curves = [
                panels.Curve(name, panels.percent(rows), [share * row[column] for row in rows])
                for name, column in columns.items()
                if column in rows[0]
            ]
            for curve in curves:
                ax.plot(curve.x, curve.y, label=curve.label, **plots.style("", names.index(curve.label)))
            panels.set_title(ax, title)
            finish(ax, panels.PRUNED, label)
            if label.startswith("ms"):
                ax.set_yscale("log", subs=(2, 5))
                for axis_format in (ax.yaxis.set_major_formatter, ax.yaxis.set_minor_formatter):
                    axis_format("{x:,.0f}")  # 4,000, not 4 x 10^3
            if label.startswith("MiB"):
                ax.set_ylim(bottom=0)

    return draw


if __name__ == "__main__":
    cli.run(main, Config, __doc__)
