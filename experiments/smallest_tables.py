"""The tables that `smallest` tries within its budget, dense and sparse, and what each cost; no command by itself."""

import dataclasses
import functools
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import lthjax
from experiments.find_tickets import mark_of
from experiments.paper.runs import dense_alone
from lthjax.errors import TrainingError
from lthjax.runtime import files
from lthjax.settings import Settings, values

if TYPE_CHECKING:
    from lthjax.data.split import Split
    from lthjax.search.problem import Problem
    from lthjax.tickets.ticket import Ticket

RANKED = 20  # Recall@20 judges
_TUNED_FOR = 0.1  # of a dense training, each L2
_HALVED = 2.0  # dense trainings, about, that one at half the rate takes
_OWN = 0.6  # of a dense training, about, that a sparse table trains


class Candidate(NamedTuple):
    """A trained table, dense or sparse."""

    kind: str  # dense, ticket, random-by-degree, PEP, MagPrune
    ticket: "Ticket"
    spent: float  # dense trainings, on it alone


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


class Workspace(NamedTuple):
    """What all tables of one call share."""

    split: "Split"
    out: Path  # the folder
    account: Account  # of what was spent
    left_out: list[str]  # names of what was not tried


def candidates(
    base: Settings,
    dims: Sequence[int],
    sparsities: Sequence[float],
    how: Mapping[str, str],
    workspace: Workspace,
) -> Iterator[Candidate]:
    """Tables as long as the budget lasts: dense ones of three widths, then sparse ones of the best, then the rest.

    The best of the three is trained again at half its learning rate, to its end: what a rate is worth cannot be told
    early, where the lower one trails (experiments/LOG.md).

    Args:
      base: settings of the first dense table.
      dims: widths of dense tables, in the order in which they are tried.
      sparsities: shares of the entries that are pruned, likewise.
      how: settings of the search for tickets.
      workspace: what all share.
    """
    dense: list[Ticket] = []  # in the order in which they were trained
    account = workspace.account

    def affords(name: str, cost: float) -> bool:
        if account.left < cost:
            workspace.left_out.append(name)
        return account.left >= cost

    def dense_of(dims: Sequence[int]) -> Iterator[Candidate]:
        for dim in dims:
            settings, before = dataclasses.replace(base, dim=dim), account.of(account.steps)
            if not dense:
                yield from trained(settings)
            elif affords(f"dense, F = {dim}", 1.0 + tuning_cost(settings)):
                settings = with_own_l2(settings, workspace, dense[0])
                yield from trained(settings, account.of(account.steps) - before)

    def trained(settings: Settings, tuning: float = 0.0) -> Iterator[Candidate]:
        candidate = dense_table(settings, workspace, tuning)
        dense.append(candidate.ticket)
        yield candidate
        yield from pruned_tables(candidate, workspace.split, sparsities)

    def sparse_of(ticket: "Ticket", kinds: Sequence[str]) -> Iterator[Candidate]:
        for kind in kinds:
            for sparsity in sparsities:
                changes, cost = {"search": "one-shot", "prune_by": kind}, _OWN
                if kind == "ticket":
                    changes, cost = how, cost + search_cost(ticket, sparsity, how["search"], account)
                if affords(f"{kind}, F = {ticket.settings.dim}, {sparsity:.0%}", cost):
                    yield sparse_table(kind, ticket, {**changes, "sparsities": str(sparsity)}, workspace)

    yield from dense_of(dims[:3])
    of_best = best_of_widths(dense)[0].settings
    if affords(f"dense, F = {of_best.dim}, half the rate", _HALVED):
        yield from trained(dataclasses.replace(of_best, learning_rate=of_best.learning_rate / 2))
    best = best_of_widths(dense)[0]
    yield from sparse_of(best, ("ticket", "random-by-degree"))
    if sparsities and affords(f"PEP, F = {best.settings.dim}", pep_cost(best, sparsities, account)):
        yield from pep_tables(best, sparsities, workspace)
    yield from dense_of(dims[3:])
    for ticket in best_of_widths(dense):
        if ticket is not best:
            yield from sparse_of(ticket, ("ticket",))


def best_of_widths(dense: "Sequence[Ticket]") -> "list[Ticket]":
    """The best table of each width on validation, the best of all first; of equal ones that which was trained first."""
    of_widths: dict[int, Ticket] = {}
    for ticket in sorted(dense, key=_valid_recall, reverse=True):
        of_widths.setdefault(ticket.settings.dim, ticket)
    return list(of_widths.values())


def _valid_recall(ticket: "Ticket") -> float:
    return ticket.metrics[f"valid_recall@{RANKED}"]


def search_cost(dense: "Ticket", sparsity: float, search: str, account: Account) -> float:
    """What a search will cost, in dense trainings; that of one whose end is not known is a guess.

    Args:
      dense: the dense table.
      sparsity: share that is pruned.
      search: its name.
      account: with the unit.
    """
    from lthjax.search.short import EPOCHS

    if search == "one-shot":
        return 0.0  # the dense table is there
    if search != "short":
        return 0.2
    epochs = EPOCHS[dense.settings.model] * math.log(1 - sparsity) / math.log(1 - dense.settings.prune_rate)
    return account.of(round(epochs * dense.cost.own.steps / dense.epochs))


def dense_table(settings: Settings, workspace: Workspace, tuning: float = 0.0) -> Candidate:
    """A dense table, trained to its end; the first that is trained is the unit.

    Args:
      settings: of the table.
      workspace: what all share.
      tuning: what finding the settings cost, in dense trainings.
    """
    (ticket,) = _run(settings, workspace)
    return Candidate("dense", ticket, tuning + workspace.account.spend(ticket.cost.own.steps))


def with_own_l2(settings: Settings, workspace: Workspace, first: "Ticket") -> Settings:
    """The L2 that is best on validation after a tenth of a training: a third, once or three times the first table's.

    Where that is 0 there is no choice, and nothing is trained.

    Args:
      settings: of a table of another width, with the first table's L2.
      workspace: what all share.
      first: the first table.
    """
    epochs, choices = max(1, round(_TUNED_FOR * first.epochs)), l2_choices(settings)
    if len(choices) == 1:
        return settings
    return max(choices, key=lambda choice: _short_training(choice, epochs, workspace))


def l2_choices(settings: Settings) -> list[Settings]:
    """The settings as they are, with a third of the L2, and with three times; where that is 0, as they are alone."""
    weights = dict.fromkeys(settings.l2 * factor for factor in (1, 1 / 3, 3))
    return [dataclasses.replace(settings, l2=l2) for l2 in weights]


def tuning_cost(settings: Settings) -> float:
    """What the choice of an L2 will cost, in dense trainings."""
    number = len(l2_choices(settings))
    return _TUNED_FOR * number if number > 1 else 0.0


def _short_training(settings: Settings, epochs: int, workspace: Workspace) -> float:
    """The best validation Recall@20 of a few epochs."""
    (ticket,) = _run(dataclasses.replace(settings, epochs=epochs, patience=0), workspace)
    workspace.account.spend(ticket.cost.own.steps)
    return _valid_recall(ticket)


def sparse_table(kind: str, dense: "Ticket", how: Mapping[str, str], workspace: Workspace) -> Candidate:
    """A ticket, or a table of random entries with rows by degree, of a dense table's width and settings.

    Args:
      kind: ticket, or random-by-degree.
      dense: the dense table.
      how: settings of the search.
      workspace: what all share.
    """
    settings = dataclasses.replace(dense.settings, **how)
    _, ticket = _run(settings, workspace, dense)
    spent = ticket.cost.whole.steps - (dense.cost.own.steps if ticket.parent == 0 and ticket.cost.search.steps else 0)
    return Candidate(kind, ticket, workspace.account.spend(spent))


_PEP_EPOCHS = 150  # of PEP's search, at most
_PEP_START = -15.0  # of its thresholds


def pep_cost(dense: "Ticket", sparsities: Sequence[float], account: Account) -> float:
    """What PEP costs at most, in dense trainings; what its tables train is a guess.

    Args:
      dense: the dense table.
      sparsities: shares that are pruned.
      account: with the unit.
    """
    return account.of(_PEP_EPOCHS * _steps_per_epoch(dense)) + _OWN * len(sparsities)


def _steps_per_epoch(dense: "Ticket") -> int:
    return dense.cost.own.steps // dense.epochs


def pep_tables(dense: "Ticket", sparsities: Sequence[float], workspace: Workspace) -> Iterator[Candidate]:
    """Tables whose masks PEP's thresholds find, a threshold for each row, as far as they get.

    Args:
      dense: the dense table.
      sparsities: shares that are pruned.
      workspace: what all share; what is not reached is left out there, with the reason, and not looked for again.
    """
    from lthjax.baselines.pep_search import pep_search
    from lthjax.baselines.records import Search

    targets, steps_per_epoch = sorted(sparsities), _steps_per_epoch(dense)
    # Adam raises thresholds by its rate a step: they get to 0 in half of the search at least.
    rate = max(dense.settings.learning_rate, -_PEP_START / (_PEP_EPOCHS * steps_per_epoch / 2))
    search = Search(
        granularity="row", start=_PEP_START, pull=0.1, learning_rate=rate, epochs=_PEP_EPOCHS, check_every=5
    )
    settings = dataclasses.replace(dense.settings, levels=len(targets))
    # The settings do not say what the search was given: a run with other sparsities is another one.
    mark = mark_of(values(settings, Settings) | {"targets": targets, "pep": dataclasses.asdict(search)})
    folder = workspace.out / "runs" / f"pep-dim_{settings.dim}-{mark}"
    tickets = lthjax.find_tickets(
        workspace.split,
        settings=settings,
        search=pep_search(targets, search),
        dense=dense,
        out=folder,
        show_progress=False,
    )
    failure = folder.with_name(f"{folder.name}-failure.json")  # of a search that would fail again
    known = files.read_json(failure) if failure.exists() else {"reached": len(targets)}
    searched = reached = 0
    try:
        for ticket in itertools.islice(tickets, 1, 1 + known["reached"]):
            steps = ticket.cost.search.steps
            yield Candidate("PEP", ticket, workspace.account.spend(steps - searched + ticket.cost.own.steps))
            searched, reached = steps, reached + 1
        if "error" in known:
            raise TrainingError(known["error"])
    except TrainingError as error:
        files.write_text(failure, json.dumps({"reached": reached, "error": str(error)}))
        workspace.account.spend(_PEP_EPOCHS * steps_per_epoch - searched)
        reason = str(error).removeprefix("PEP: ").partition(". ")[0]  # without what helps: there is no flag for it
        workspace.left_out.append(f"PEP, F = {settings.dim}, from {targets[reached]:.0%} on ({reason})")


def pruned_tables(candidate: Candidate, split: "Split", sparsities: Sequence[float]) -> Iterator[Candidate]:
    """A dense table without its smallest weights (MagPrune), which costs no step."""
    from lthjax.baselines import magprune

    problem, dense = problem_of(candidate.ticket, split), candidate.ticket

    def embed(layer0: Any) -> Any:
        return problem.program.embed(layer0, problem.graph)

    for sparsity in sparsities:
        pruned = magprune.best(dense.trained, sparsity, embed, problem.selection)
        yield Candidate("MagPrune", dataclasses.replace(dense, masks=pruned.masks, trained=pruned.params), 0.0)


def _run(settings: Settings, workspace: Workspace, dense: "Ticket | None" = None) -> "list[Ticket]":
    """All tickets of a run that has a folder of its own."""
    folder = workspace.out / "runs" / f"dim_{settings.dim}-{mark_of(values(settings, Settings))}"
    given = () if dense is None else dense
    return list(lthjax.find_tickets(workspace.split, settings=settings, out=folder, dense=given, show_progress=False))


def problem_of(ticket: "Ticket", split: "Split") -> "Problem":
    """What a table is ranked with: the same for all that differ in how they were pruned."""
    return _problem(split, dense_alone(ticket.settings))


@functools.lru_cache(maxsize=4)
def _problem(split: "Split", settings: Settings) -> "Problem":
    from lthjax.search.problem import prepare

    return prepare(split, settings)
