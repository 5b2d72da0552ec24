r"""The smallest embedding table that is as good: which width, how sparse, stored how?

    python -m experiments.smallest                                    (bundled MovieLens, MF: 10 minutes on 2 CPU cores)
    python -m experiments.smallest --model lightgcn --within 0.02
    python -m experiments.smallest --data mine.csv --budget 12 --dims 16 32 64 128

Trains dense tables of several widths, each with an L2 and a learning rate of its own, then tickets of the best widths
(found by --search) and, beside them, random entries with rows by degree, PEP, and MagPrune, which trains nothing; all
stored as float32, float16 and int8. Stops when the budget is used up: its unit is one training of the first dense
table, and tuning and searches count. Then names the smallest that is within a hundredth of the best dense Recall@20 on
the validation part, judges it on the test part, and leaves table, picture and that ticket, ready to serve.

The same command goes on where it was stopped; with a larger --budget too.
"""

import dataclasses
import functools
import itertools
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import lthjax
from experiments import cli
from experiments.find_tickets import mark_of
from experiments.paper.rows import Row, markdown, write_results
from experiments.paper.runs import dense_alone
from lthjax import plots, presets
from lthjax.errors import SettingsError, TrainingError
from lthjax.plots.style import finish
from lthjax.settings import Settings, values

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

    from lthjax.data.split import Split
    from lthjax.search.problem import Problem
    from lthjax.tickets.ticket import Ticket

FORMS = ("float32", "float16", "int8")
_TUNED_FOR = 0.1  # of a dense training, each pair of L2 and learning rate
_OWN = 0.6  # of a dense training, about, that a sparse table trains
_K = 20


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
    search: Literal["imp", "one-shot", "short", "early", "gradual", "dynamic"] = "short"
    """How tickets are found."""
    prune_by: Literal["magnitude", "movement"] = "movement"
    """By what: the smallest weights fall, or those that training moved least (not with dynamic)."""
    epochs: int = 600
    """Epochs that a table trains at most."""
    patience: int = 60
    """Epochs without a better validation Recall@20 after which it stops."""
    seed: int = 0
    """Of first values and batches."""
    out: str | None = None
    """Folder of runs and results; by default one under runs/ that is named after the flags."""
    picture: plots.Picture = "png"
    """Format of the picture."""

    def __post_init__(self):
        if not 0 < self.within < 1:
            raise SettingsError(f"--within: wanted a share between 0 and 1; got {self.within}.")
        if self.budget < 1:
            raise SettingsError(f"--budget: wanted at least 1, for one dense table; got {self.budget}.")
        if not self.dims or len(set(self.dims)) < len(self.dims):
            raise SettingsError(f"--dims: wanted at least one width, each once; got {self.dims}.")
        if any(not 0 < sparsity < 1 for sparsity in self.sparsities):
            raise SettingsError(f"--sparsities: wanted shares between 0 and 1; got {self.sparsities}.")
        dataclasses.replace(settings_of(self), search=self.search, prune_by=self.prune_by)  # raises where it cannot be


class Candidate(NamedTuple):
    """A trained table, dense or sparse."""

    kind: str  # dense, ticket, random-by-degree, PEP, MagPrune
    ticket: "Ticket"
    spent: float  # dense trainings, on it alone


class Stored(NamedTuple):
    """A table as it is stored, and how good it is then."""

    candidate: Candidate
    form: str  # of FORMS
    num_bytes: int  # of both tables in a file
    valid: float  # Recall@20
    test: float
    per_user: "np.ndarray | None" = None  # [U] of the users of the test part

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
        }


class Account:
    """What was spent, in trainings of the first dense table, and a bar that shows it beside the smallest so far."""

    def __init__(self, budget: float):
        from tqdm.auto import tqdm

        self.budget, self.steps, self.unit = budget, 0, 0
        form = "{l_bar}{bar}| {n:.1f} of {total:g} trainings{postfix}"
        self._bar = tqdm(total=budget, bar_format=form, disable=None)  # quiet where nobody watches a terminal

    @property
    def left(self) -> float:
        """Dense trainings."""
        return self.budget - self.of(self.steps) if self.unit else self.budget

    def of(self, steps: int) -> float:
        """Steps in dense trainings."""
        return steps / self.unit if self.unit else 0.0

    def spend(self, steps: int) -> float:
        """Count some steps; returns them in dense trainings. The first that are spent are the unit."""
        self.unit = self.unit or steps
        self.steps += steps
        self._bar.n = min(self.of(self.steps), self.budget)
        self._bar.refresh()
        return self.of(steps)

    def show(self, text: str) -> None:
        """What stands beside the bar."""
        self._bar.set_postfix_str(text)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


def main(config: Config) -> list[Row]:
    """Try, measure, print the frontier and the smallest, and leave all; returns a row per stored table."""
    base = settings_of(config)
    split = lthjax.load_split(None, base)
    out = Path(config.out or f"runs/smallest-{Path(config.data).stem}-{config.model}-{_mark(config)}")
    print("\n".join([*split.notes, f"folder: {out}"]), flush=True)
    account, stored, left_out = Account(config.budget), [], []
    for candidate in candidates(config, base, split, out, account, left_out):
        stored += stored_forms(candidate, split)
        account.show(_in_words(smallest(stored, config.within)))
    account.close()
    best, chosen = best_dense(stored), smallest(stored, config.within)
    rows = [item.row() for item in stored]
    text = text_of(config, stored, left_out, account)
    write_results(out, rows, text, lambda figure: draw(stored, config.within, figure.add_subplot()))
    path = lthjax.export(chosen.candidate.ticket, split, out / "smallest.npz", values=chosen.form, store="layer0")
    print(f"{verdict_of(chosen, best)}\nready to serve: lthjax.load_compressed({str(path)!r})")
    return rows


def settings_of(config: Config) -> Settings:
    """Of the first dense table."""
    start = presets.find(presets.for_model("none", config.model))
    own = {name: getattr(config, name) for name in ("data", "model", "epochs", "patience", "seed")}
    return dataclasses.replace(start, **own, dim=config.dims[0], levels=0)


def _mark(config: Config) -> str:
    chosen = dataclasses.asdict(config)
    for name in ("budget", "within", "out", "picture"):  # the runs are the same
        del chosen[name]
    return mark_of(values(settings_of(config), Settings) | {name: str(value) for name, value in chosen.items()})


def candidates(
    config: Config, base: Settings, split: "Split", out: Path, account: Account, left_out: list[str]
) -> Iterator[Candidate]:
    """Tables as long as the budget lasts: dense ones of three widths, then sparse ones of the best, then the rest.

    Args:
      config: the flags.
      base: of the first dense table.
      split: of the data.
      out: folder.
      account: of what was spent.
      left_out: names of what was not tried are added here.
    """
    dense: dict[int, Ticket] = {}
    ticket_settings = {"search": config.search, "prune_by": config.prune_by}

    def affords(name: str, cost: float) -> bool:
        if account.left < cost:
            left_out.append(name)
        return account.left >= cost

    def dense_of(dims: Sequence[int]) -> Iterator[Candidate]:
        for dim in dims:
            if not dense or affords(f"dense, F = {dim}", 1.0):
                first = next(iter(dense.values()), None)
                candidate = dense_table(dataclasses.replace(base, dim=dim), split, out, account, first)
                dense[dim] = candidate.ticket
                yield candidate
                yield from pruned_tables(candidate, split, config.sparsities)

    def sparse_of(ticket: "Ticket", kinds: Sequence[str]) -> Iterator[Candidate]:
        for kind in kinds:
            for sparsity in config.sparsities:
                how, cost = {"search": "one-shot", "prune_by": kind}, _OWN
                if kind == "ticket":
                    how, cost = ticket_settings, cost + search_cost(ticket, sparsity, config.search, account)
                if affords(f"{kind}, F = {ticket.settings.dim}, {sparsity:.0%}", cost):
                    yield sparse_table(kind, ticket, how | {"sparsities": str(sparsity)}, split, out, account)

    yield from dense_of(config.dims[:3])
    best = max(dense.values(), key=_valid_recall)
    yield from sparse_of(best, ("ticket", "random-by-degree"))
    if config.sparsities and affords(f"PEP, F = {best.settings.dim}", pep_cost(best, config.sparsities)):
        yield from pep_tables(best, split, config.sparsities, out, account, left_out)
    yield from dense_of(config.dims[3:])
    for ticket in sorted(dense.values(), key=_valid_recall, reverse=True):
        if ticket is not best:
            yield from sparse_of(ticket, ("ticket",))


def _valid_recall(ticket: "Ticket") -> float:
    return ticket.metrics[f"valid_recall@{_K}"]


def search_cost(dense: "Ticket", sparsity: float, search: str, account: Account) -> float:
    """What a search will cost, in dense trainings; that of one whose end is not known is a guess.

    Args:
      dense: the dense table.
      sparsity: share that is pruned.
      search: its name.
      account: with the unit.
    """
    from lthjax.search.short import EPOCHS

    if search in ("imp", "one-shot"):
        return 0.0  # the dense table is there
    if search != "short":
        return 0.2
    epochs = EPOCHS[dense.settings.model] * math.log(1 - sparsity) / math.log(1 - dense.settings.prune_rate)
    return account.of(round(epochs * dense.cost.own.steps / dense.epochs))


def dense_table(settings: Settings, split: "Split", out: Path, account: Account, first: "Ticket | None") -> Candidate:
    """A dense table with the L2 and the learning rate that are best on validation after a tenth of a training.

    L2 comes first, at a third, once and three times the first table's, then the learning rate at a half and twice. The
    first table has the settings of its preset, which were tuned, and is the unit.

    Args:
      settings: of the table.
      split: of the data.
      out: folder.
      account: of what was spent.
      first: the first table; None before it.
    """
    spent = 0.0
    if first is not None:
        epochs = max(1, round(_TUNED_FOR * first.epochs))
        spend = functools.partial(_short_training, epochs=epochs, split=split, out=out, account=account)
        choices = [dataclasses.replace(settings, l2=settings.l2 * factor) for factor in (1, 1 / 3, 3)]
        before = account.of(account.steps)
        tried = {choice: spend(choice) for choice in choices}
        best = max(tried, key=tried.__getitem__)
        rates = [dataclasses.replace(best, learning_rate=best.learning_rate * factor) for factor in (0.5, 2)]
        tried |= {choice: spend(choice) for choice in rates}
        settings = max(tried, key=tried.__getitem__)
        spent = account.of(account.steps) - before
    (ticket,) = _run(settings, split, out)
    return Candidate("dense", ticket, spent + account.spend(ticket.cost.own.steps))


def _short_training(settings: Settings, epochs: int, split: "Split", out: Path, account: Account) -> float:
    """The best validation Recall@20 of a few epochs."""
    (ticket,) = _run(dataclasses.replace(settings, epochs=epochs, patience=0), split, out)
    account.spend(ticket.cost.own.steps)
    return _valid_recall(ticket)


def sparse_table(
    kind: str, dense: "Ticket", how: Mapping[str, str], split: "Split", out: Path, account: Account
) -> Candidate:
    """A ticket, or a table of random entries with rows by degree, of a dense table's width and settings.

    Args:
      kind: ticket, or random-by-degree.
      dense: the dense table.
      how: settings of the search.
      split: of the data.
      out: folder.
      account: of what was spent.
    """
    settings = dataclasses.replace(dense.settings, **how)
    _, ticket = _run(settings, split, out, dense)
    spent = ticket.cost.whole.steps - (dense.cost.own.steps if ticket.parent == 0 and ticket.cost.search.steps else 0)
    return Candidate(kind, ticket, account.spend(spent))


_PEP_EPOCHS = 150  # of PEP's search, at most
_PEP_START = -15.0  # of its thresholds


def pep_cost(dense: "Ticket", sparsities: Sequence[float]) -> float:
    """What PEP costs at most, in trainings of a dense table."""
    return _PEP_EPOCHS / dense.epochs + _OWN * len(sparsities)


def pep_tables(
    dense: "Ticket", split: "Split", sparsities: Sequence[float], out: Path, account: Account, left_out: list[str]
) -> Iterator[Candidate]:
    """Tables whose masks PEP's thresholds find, a threshold for each row, as far as they get.

    Args:
      dense: the dense table.
      split: of the data.
      sparsities: shares that are pruned.
      out: folder.
      account: of what was spent.
      left_out: what is not reached is added here, with the reason.
    """
    from lthjax.baselines.pep_search import pep_search
    from lthjax.baselines.records import Search

    targets, steps_per_epoch = sorted(sparsities), dense.cost.own.steps // dense.epochs
    # Adam raises thresholds by its rate a step: they get to 0 in half of the search at least.
    rate = max(dense.settings.learning_rate, -_PEP_START / (_PEP_EPOCHS * steps_per_epoch / 2))
    search = Search(
        granularity="row", start=_PEP_START, pull=0.1, learning_rate=rate, epochs=_PEP_EPOCHS, check_every=5
    )
    settings = dataclasses.replace(dense.settings, levels=len(targets))
    folder = out / "runs" / f"pep-dim_{settings.dim}-{mark_of(values(settings, Settings))}"
    tickets = lthjax.find_tickets(
        split, settings=settings, search=pep_search(targets, search), dense=dense, out=folder, show_progress=False
    )
    searched = 0
    try:
        for ticket in itertools.islice(tickets, 1, None):
            steps = ticket.cost.search.steps
            yield Candidate("PEP", ticket, account.spend(steps - searched + ticket.cost.own.steps))
            searched = steps
    except TrainingError as error:
        account.spend(_PEP_EPOCHS * steps_per_epoch - searched)
        left_out.append(str(error))


def pruned_tables(candidate: Candidate, split: "Split", sparsities: Sequence[float]) -> Iterator[Candidate]:
    """A dense table without its smallest weights (MagPrune), which costs no step."""
    from lthjax.baselines import magprune

    problem, dense = _problem_of(candidate.ticket, split), candidate.ticket

    def embed(layer0: Any) -> Any:
        return problem.program.embed(layer0, problem.graph)

    for sparsity in sparsities:
        pruned = magprune.best(dense.trained, sparsity, embed, problem.selection)
        yield Candidate("MagPrune", dataclasses.replace(dense, masks=pruned.masks, trained=pruned.params), 0.0)


def _run(settings: Settings, split: "Split", out: Path, dense: "Ticket | None" = None) -> "list[Ticket]":
    """All tickets of a run that has a folder of its own."""
    folder = out / "runs" / f"dim_{settings.dim}-{mark_of(values(settings, Settings))}"
    given = () if dense is None else dense
    return list(lthjax.find_tickets(split, settings=settings, out=folder, dense=given, show_progress=False))


def _problem_of(ticket: "Ticket", split: "Split") -> "Problem":
    """What a table is ranked with: the same for all that differ in how they were pruned."""
    return _problem(split, dense_alone(ticket.settings))


@functools.lru_cache(maxsize=4)
def _problem(split: "Split", settings: Settings) -> "Problem":
    from lthjax.search.problem import prepare

    return prepare(split, settings)


def stored_forms(candidate: Candidate, split: "Split") -> list[Stored]:
    """A table in each form: written, read again, and ranked as it is served."""
    import jax

    from lthjax.embeddings import Embeddings
    from lthjax.evaluation.ranking import evaluate

    problem, stored = _problem_of(candidate.ticket, split), []
    for form in FORMS:
        with tempfile.TemporaryDirectory() as folder:
            path = lthjax.export(candidate.ticket, split, Path(folder) / "table.npz", values=form, store="layer0")
            served = lthjax.load_compressed(path, scoring="dense")
        final = Embeddings(*(jax.device_put(table) for table in served.embeddings()))
        ranked = [evaluate(final, task) for task in (problem.selection, problem.test)]
        recall = [metrics.means()[f"recall@{_K}"] for metrics in ranked]
        stored.append(Stored(candidate, form, int(served.sizes()["tables"]), *recall, ranked[1].recall[_K]))
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
        f"{_in_words(best)}. Test Recall@{_K} {chosen.test:.4f} against {best.test:.4f} (difference "
        f"{effect.mean:+.4f}, 95% interval {effect.low:+.4f} to {effect.high:+.4f}, {len(best.per_user):,} users)."
    )


def _in_words(item: Stored) -> str:
    ticket = item.candidate.ticket
    pruned = f", {ticket.sparsity:.0%} pruned" if ticket.sparsity else ""
    return f"{item.candidate.kind}, F = {ticket.settings.dim}{pruned}, {item.form}, {item.num_bytes / 2**10:,.0f} KiB"


def text_of(config: Config, stored: Sequence[Stored], left_out: Sequence[str], account: Account) -> str:
    """The frontier as a table, and what was spent.

    Args:
      config: the flags.
      stored: all tables.
      left_out: names of what the budget did not reach.
      account: of what was spent.
    """
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
    return f"## The smallest table that is as good\n\n{table}\n\n{note}"


def draw(stored: Sequence[Stored], within: float, ax: "Axes") -> None:
    """Validation Recall@20 against bytes, a marker for each kind, and the frontier as a line.

    Args:
      stored: all tables.
      within: share that may be lost.
      ax: where to draw.
    """
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
    finish(ax, "KiB of both tables", f"validation Recall@{_K}", loc="center left", bbox_to_anchor=(1, 0.5))


if __name__ == "__main__":
    cli.run(main, Config, __doc__)
