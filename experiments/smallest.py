r"""The smallest embedding table that is as good: which width, how sparse, stored how?

    python -m experiments.smallest                                    (bundled MovieLens, MF: 10 minutes on 2 CPU cores)
    python -m experiments.smallest --model lightgcn --within 0.02
    python -m experiments.smallest --data mine.csv --budget 12 --dims 16 32 64 128 --l2 0.03 --learning-rate 0.005

Trains dense tables of several widths, each with an L2 of its own, and the best of them at half its learning rate too;
then tickets of the best widths (found by --search) and, beside them, random entries with rows by degree, PEP, and
MagPrune, which trains nothing; all stored as float32, float16 and int8. Stops when the budget is used up: its unit is
one training of the first dense table, and tuning and searches count. Then names the smallest that is within a hundredth
of the best dense Recall@20 on the validation part, judges it on the test part, and leaves table, picture and that
ticket, ready to serve.

The same command goes on where it was stopped; with a larger --budget too.
"""

import dataclasses
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import lthjax
from experiments import cli
from experiments.find_tickets import mark_of
from experiments.paper.rows import Row, markdown, write_results
from experiments.smallest_tables import RANKED, Account, Candidate, Workspace, candidates, problem_of
from lthjax import plots, presets
from lthjax.errors import SettingsError
from lthjax.plots.style import finish
from lthjax.settings import Settings, flag, values
from lthjax.tickets import report
from lthjax.tickets.result import is_cut_short

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

    from lthjax.data.split import Split

Search = Literal["one-shot", "short", "early", "gradual", "dynamic"]
FORMS = ("float32", "float16", "int8")
TUNED = ("batch_size", "l2", "learning_rate")  # flags that stand for the preset's where they are not given


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What is tried, and what counts as good as the best."""

    data: str = "ml-latest-small"
    """Bundled or known name, or path."""
    model: Literal["mf", "lightgcn"] = "mf"
    """Backbone."""
    within: float = 0.01
    """Share of the best dense Recall@20 that may be lost."""
    budget: float = 5.0
    """Trainings of a dense table that may be spent, tuning and searches counted."""
    dims: tuple[int, ...] = (32, 64, 16, 128)
    """Widths of dense tables, in the order in which they are tried."""
    sparsities: tuple[float, ...] = (0.75, 0.5, 0.9)
    """Shares of the entries that are pruned, likewise."""
    search: Search = "short"
    """How tickets are found. Each sparsity is searched for by itself, so imp would be one-shot, and is left out."""
    prune_by: Literal["magnitude", "movement"] = "movement"
    """By what: the smallest weights fall, or those that training moved least (not with dynamic)."""
    epochs: int = 600
    """Epochs that a table trains at most; a line says so where the best dense one was still learning then."""
    patience: int = 60
    """Epochs without a better validation Recall@20 after which it stops."""
    batch_size: int | None = None
    """Interactions of a step; by default the preset's. Large data train faster in large batches."""
    l2: float | None = None
    """L2 weight of the first dense table, around which the other widths look for theirs; by default the preset's."""
    learning_rate: float | None = None
    """Learning rate of all tables, of which the half is tried once; by default the preset's."""
    seed: int = 0
    """Of first values and batches."""
    out: str | None = None
    """Folder of runs and results; by default one under runs/ that is named after the flags."""
    picture: plots.Picture = "png"
    """Format of the picture."""

    def __post_init__(self):
        if not 0 < self.within < 1:
            raise SettingsError(f"--within: wanted a share between 0 and 1; got {self.within}.")
        if not 1 <= self.budget < math.inf:  # which NaN is not either
            raise SettingsError(f"--budget: wanted a finite number from 1, for one dense table; got {self.budget}.")
        if not self.dims or _has_twins(self.dims) or min(self.dims) < 1:
            raise SettingsError(f"--dims: wanted at least one width, from 1 and each once; got {self.dims}.")
        if _has_twins(self.sparsities) or any(not 0 < sparsity < 1 for sparsity in self.sparsities):
            raise SettingsError(f"--sparsities: wanted shares between 0 and 1, each once; got {self.sparsities}.")
        if self.search not in get_args(Search):
            raise SettingsError(f"--search: wanted one of {', '.join(get_args(Search))}; got {self.search}.")
        dataclasses.replace(settings_of(self), search=self.search, prune_by=self.prune_by)  # raises where it cannot be


def _has_twins(numbers: Sequence[float]) -> bool:
    return len(set(numbers)) < len(numbers)


class Stored(NamedTuple):
    """A table as it is stored, and how good it is then."""

    candidate: Candidate
    form: str  # of FORMS
    num_bytes: int  # of both tables in a file
    valid: float  # Recall@20
    test: float
    per_user: "np.ndarray | None" = None  # [U] of the users of the test part

    @property
    def cut_short(self) -> bool:
        """Might its table, or the one that it was pruned from after training, have become better with more epochs?"""
        ticket = self.candidate.ticket
        return is_cut_short(ticket.best_epoch, ticket.epochs, ticket.settings)

    def row(self) -> Row:
        """As results.csv has it."""
        ticket = self.candidate.ticket
        return {
            "kind": self.candidate.kind,
            "dim": ticket.settings.dim,
            "sparsity": ticket.sparsity,
            "form": self.form,
            "bytes": self.num_bytes,
            "valid_recall@20": self.valid,
            "recall@20": self.test,
            "l2": ticket.settings.l2,
            "learning_rate": ticket.settings.learning_rate,
            "spent": self.candidate.spent,
            "selection": ticket.settings.selection,
            "cut_short": self.cut_short,
        }


def main(config: Config) -> list[Row]:
    """Try, measure, print the frontier and the smallest, and leave all; returns a row per stored table."""
    base = settings_of(config)
    split = lthjax.load_split(None, base)
    out = Path(config.out or f"runs/smallest-{Path(config.data).stem}-{config.model}-{_mark(config)}")
    print("\n".join([*split.notes, *notes_of(config, base), f"folder: {out}"]), flush=True)
    account, stored = Account(config.budget), []
    how = {"search": config.search, "prune_by": config.prune_by}
    workspace = Workspace(split, out, account, left_out=[])
    for candidate in candidates(base, config.dims, config.sparsities, how, workspace):
        stored += stored_forms(candidate, split)
        account.show(_in_words(smallest(stored, config.within)))
    account.close()
    best, chosen = best_dense(stored), smallest(stored, config.within)
    rows = [item.row() for item in stored]
    text = text_of(config, stored, workspace)
    write_results(out, rows, text, lambda figure: draw(stored, config.within, figure.add_subplot()), config.picture)
    path = lthjax.export(chosen.candidate.ticket, split, out / "smallest.npz", values=chosen.form, store="layer0")
    print(f"{verdict_of(chosen, best)}\nready to serve: lthjax.load_compressed({str(path)!r})")
    return rows


def settings_of(config: Config) -> Settings:
    """Of the first dense table."""
    start = presets.find(presets.for_model("none", config.model))
    own = {name: getattr(config, name) for name in ("data", "model", "epochs", "patience", "seed")}
    given = {name: getattr(config, name) for name in TUNED if getattr(config, name) is not None}
    return dataclasses.replace(start, **own, **given, dim=config.dims[0], levels=0)


def notes_of(config: Config, base: Settings) -> list[str]:
    """Says so where the first table has an L2 and a learning rate that were tuned on other data."""
    if config.data == Config.data or None not in (config.l2, config.learning_rate):
        return []
    names = [name for name in ("l2", "learning_rate") if getattr(config, name) is None]
    told = " and ".join(f"{flag(name)} {getattr(base, name):g}" for name in names)
    return [f"{told}: tuned on {Config.data}, not on your data. What suits these gives better tables"]


def _mark(config: Config) -> str:
    chosen = dataclasses.asdict(config)
    for name in ("budget", "within", "out", "picture", *TUNED):  # the runs are the same, or the settings say it
        del chosen[name]
    return mark_of(values(settings_of(config), Settings) | {name: str(value) for name, value in chosen.items()})


def stored_forms(candidate: Candidate, split: "Split") -> list[Stored]:
    """A table in each form: written, read again, and ranked as it is served."""
    import jax

    from lthjax.embeddings import Embeddings
    from lthjax.evaluation.ranking import evaluate

    problem, stored = problem_of(candidate.ticket, split), []
    for form in FORMS:
        with tempfile.TemporaryDirectory() as folder:
            path = lthjax.export(candidate.ticket, split, Path(folder) / "table.npz", values=form, store="layer0")
            served = lthjax.load_compressed(path, scoring="dense")
        final = Embeddings(*(jax.device_put(table) for table in served.embeddings()))
        ranked = [evaluate(final, task) for task in (problem.selection, problem.test)]
        recall = [metrics.means()[f"recall@{RANKED}"] for metrics in ranked]
        stored.append(Stored(candidate, form, int(served.sizes()["tables"]), *recall, ranked[1].recall[RANKED]))
    return stored


def best_dense(stored: Sequence[Stored]) -> Stored:
    """The dense table with the best validation Recall@20, as float32."""
    of_dense = [item for item in stored if item.candidate.kind == "dense" and item.form == "float32"]
    return max(of_dense, key=lambda item: item.valid)


def smallest(stored: Sequence[Stored], within: float) -> Stored:
    """The smallest table whose validation Recall@20 is within a share of the best dense table's."""
    bound = (1 - within) * best_dense(stored).valid
    return min((item for item in stored if item.valid >= bound), key=lambda item: (item.num_bytes, -item.valid))


def frontier(stored: Sequence[Stored]) -> list[Stored]:
    """Those that no smaller table is as good as, on validation, from the smallest on."""
    kept: list[Stored] = []
    for item in sorted(stored, key=lambda item: (item.num_bytes, -item.valid)):
        if not kept or item.valid > kept[-1].valid:
            kept.append(item)
    return kept


def verdict_of(chosen: Stored, best: Stored) -> str:
    """The smallest table beside the best dense one on the test part, in a sentence."""
    from lthjax.evaluation.statistics import crossed_effect

    effect = crossed_effect((chosen.per_user.astype(float) - best.per_user)[None])
    return (
        f"The smallest is {_in_words(chosen)}: {chosen.num_bytes / best.num_bytes:.1%} of the best dense table, "
        f"{_in_words(best)}. Test Recall@{RANKED} {chosen.test:.4f} against {best.test:.4f} (difference "
        f"{effect.mean:+.4f}, 95% interval {effect.low:+.4f} to {effect.high:+.4f}, {len(best.per_user):,} users)."
    )


def _in_words(item: Stored) -> str:
    ticket = item.candidate.ticket
    pruned = f", {ticket.sparsity:.0%} pruned" if ticket.sparsity else ""
    return f"{item.candidate.kind}, F = {ticket.settings.dim}{pruned}, {item.form}, {item.num_bytes / 2**10:,.0f} KiB"


def text_of(config: Config, stored: Sequence[Stored], workspace: Workspace) -> str:
    """The frontier as a table, and what was spent; and whether the best dense table was cut short.

    Args:
      config: the flags.
      stored: all tables.
      workspace: with what was spent, and the names of what the budget did not reach.
    """
    account, left_out = workspace.account, workspace.left_out
    best = best_dense(stored)
    bound = (1 - config.within) * best.valid
    lines = []
    for item in frontier(stored):
        row = item.row()
        lines.append(
            [
                *(f"{row['bytes'] / 2**10:,.0f}", row["kind"], row["dim"], f"{row['sparsity']:.0%}", row["form"]),
                *(f"{row['valid_recall@20']:.4f}", f"{row['recall@20']:.4f}", f"{row['l2']:.3g}"),
                *(f"{row['learning_rate']:.3g}", "yes" if item.valid >= bound else ""),
            ]
        )
    header = ["KiB", "table", "F", "pruned", "stored as", "validation Recall@20", "test", "L2", "rate"]
    table = markdown([*header, f"within {config.within:.1%}"], lines)
    note = f"{Path(config.data).stem}, {plots.MODELS[config.model]}; {len(stored)} stored tables, of which those that "
    note += f"no smaller one is as good as. {account.of(account.steps):.1f} dense trainings of {account.unit:,} steps "
    note += "were spent, tuning and searches counted."
    note += f" Left out: {'; '.join(left_out)}." if left_out else ""
    note += f"\n{report.CUT_SHORT} Raise --epochs." if best.cut_short else ""
    return f"## The smallest table that is as good\n\n{table}\n\n{note}"


def draw(stored: Sequence[Stored], within: float, ax: "Axes") -> None:
    """Validation Recall@20 against bytes, a marker for each kind, and the frontier as a line.

    Args:
      stored: all tables.
      within: share that may be lost.
      ax: where to draw.
    """
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    kinds = dict.fromkeys(item.candidate.kind for item in stored)
    names = {"dense": "LCM", "ticket": "IMP"}  # whose colours and markers they have
    for number, kind in enumerate(kinds):
        of_kind = [item for item in stored if item.candidate.kind == kind]
        style = plots.style(names.get(kind, kind), number) | {"linestyle": "none", "markersize": 6}
        ax.plot([item.num_bytes / 2**10 for item in of_kind], [item.valid for item in of_kind], label=kind, **style)
    best, chosen, edge = best_dense(stored), smallest(stored, within), frontier(stored)
    sizes = [item.num_bytes / 2**10 for item in edge]
    ax.step(sizes, [item.valid for item in edge], where="post", color="0.5", linewidth=1, label="frontier")
    ax.axhline((1 - within) * best.valid, color="0.5", linestyle=":", linewidth=1, label=f"best dense - {within:.0%}")
    marks = {"marker": "*", "linestyle": "none", "markersize": 16, "color": plots.WINNER, "zorder": 4}
    ax.plot(chosen.num_bytes / 2**10, chosen.valid, label="smallest within", **marks)
    ax.set_xscale("log")
    ax.xaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), minor_locator=NullLocator())
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    finish(ax, "KiB of both tables", f"validation Recall@{RANKED}", loc="center left", bbox_to_anchor=(1, 0.5))


if __name__ == "__main__":
    cli.run(main, Config, __doc__)
