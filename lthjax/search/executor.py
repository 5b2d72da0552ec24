"""What carries searches out: answers their requests from disk or by training, saves every ticket before it is given.

One search or several that differ in their seed go through it at a time. It alone knows folders, snapshots and Ctrl-C,
and keeps account of what was spent; `telling` tells of it.
"""

import contextlib
import dataclasses
import itertools
import time
import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lthjax.errors import SettingsError
from lthjax.evaluation import verdict
from lthjax.events import OnEvent
from lthjax.pruning import masks as masking
from lthjax.runtime import interrupts, processes
from lthjax.search import checks
from lthjax.search.measuring import measure
from lthjax.search.problem import Problem
from lthjax.search.steps import Item, Progress, Request, Search, Stretch, Stretched, first_state
from lthjax.search.telling import Teller
from lthjax.tickets import folder as folders
from lthjax.tickets import identity
from lthjax.tickets.effort import Cost, Effort
from lthjax.tickets.folder import RunFolder
from lthjax.tickets.ticket import Ticket, result
from lthjax.training import progress
from lthjax.training.fit import FitState, Hooks, Member, Plan, begin, fit
from lthjax.training.keys import Purpose
from lthjax.training.step import TrainState
from lthjax.training.time_left import TimeLeft

_MOST_TOGETHER = 16  # tickets in one program; each brings its table, gradient, moments and best epoch


class Options(NamedTuple):
    """How searches are carried out; no number depends on it, but for rounding where tickets train together."""

    together: bool = False  # train as one program what does not wait for one another
    show_progress: bool | None = None  # None shows bars on a terminal
    save_seconds: float = 30.0  # between two snapshots of the level in work
    on_event: OnEvent | None = None  # is told what happens
    time_left: TimeLeft | None = None  # of all searches that are carried out one after the other; None: of this one


@dataclasses.dataclass
class _Run:
    """A search in work: one seed, its folder, and what it has come to."""

    problem: Problem
    search: Generator[Iterable[Item], list[Any], None]
    given_dense: Ticket | None = None  # in place of one of its own
    folder: RunFolder | None = None
    shapes: list[tuple[int, ...]] = dataclasses.field(default_factory=list)  # of its tables, where it computes
    template: TrainState | None = None  # a state of its model and optimizer, for the structure of saved ones
    dense: Ticket | None = None
    rows: dict[int, dict[str, Any]] = dataclasses.field(default_factory=dict)  # of results.csv, by level
    costs: dict[int, Cost] = dataclasses.field(default_factory=dict)  # by level
    progress: Progress | None = None  # of the search, the last
    num_progress: int = 0  # how often it told
    saved_progress: tuple[int, float] = (0, 0.0)  # which of them was saved, and when


class _Task(NamedTuple):
    """What a run asks for."""

    run: _Run
    item: Item

    @property
    def plan(self) -> Plan:
        if isinstance(self.item, Stretch):
            epoch = int(self.item.start.step) // self.run.problem.program.steps_per_epoch
            return dataclasses.replace(self.run.problem.plan, epochs=epoch + self.item.epochs, eval_every=None)
        return self.item.plan or self.run.problem.plan


def execute(
    search: Search,
    problems: Sequence[Problem],
    paths: Sequence[Path | None],
    given_dense: dict[int, Ticket],
    options: Options,
) -> Iterator[Ticket]:
    """Carry out a search for one problem, or for several that differ in their seed only.

    Args:
      search: how tickets are looked for.
      problems: what it is given, one after the other.
      paths: the run folder of each, or None.
      given_dense: seed -> finished dense model, which is not trained again.
      options: how it is carried out.
    """
    with contextlib.ExitStack() as stack:
        check_folders(problems, paths)
        runs = []
        for problem, path in zip(problems, paths, strict=True):
            run = _Run(problem, _begun(search, problem), given_dense.get(problem.settings.seed))
            if path is not None:
                run.folder = stack.enter_context(folders.open_folder(path, _description(problem), problem.layout))
            first = first_state(problem)
            run.shapes, run.template = [leaf.shape for leaf in first.params], problem.shapes_as_saved(first)
            runs.append(run)
        settings, plan = problems[0].settings, problems[0].plan
        num_tickets = (settings.num_levels + 1) * len(runs)
        bars = stack.enter_context(progress.bars(num_tickets, plan, options.show_progress, problems[0].selection_name))
        teller = Teller(bars, options.time_left or TimeLeft(num_tickets), options.on_event)
        for run in runs:
            stack.enter_context(teller.run(run.problem, run.folder))
        try:
            yield from _rounds(runs, teller, options)
        except KeyboardInterrupt:
            for run in runs:
                _save_progress(run)
            raise
        for run in runs:
            if run.folder and run.rows:
                run.folder.write_results(list(run.rows.values()))


def check_folders(problems: Sequence[Problem], paths: Sequence[Path | None]) -> None:
    """Look into the run folders of all problems before the first goes on.

    Args:
      problems: one after the other.
      paths: the run folder of each, or None.

    Raises:
      SettingsError: one was made with another setting, or runs of other seeds beside it were.
    """
    for problem, path in zip(problems, paths, strict=True):
        if path is not None:
            description = _description(problem)
            identity.check_folder(path, description)
            identity.check_seeds(path, description)


def _rounds(runs: list[_Run], teller: Teller, options: Options) -> Iterator[Ticket]:
    """Ask all searches for requests, answer these, and send the tickets back, until the searches end."""
    asked = {number: _next(run, None) for number, run in enumerate(runs)}
    while asked := {number: requests for number, requests in asked.items() if requests is not None}:
        answers: dict[int, list[Ticket]] = {number: [] for number in asked}
        for numbered in _portions(asked, _MOST_TOGETHER if options.together else 1):
            tasks = [_Task(runs[number], request) for number, request in numbered]
            with interrupts.held_back():  # a level that has trained is saved before Ctrl-C is heard
                tickets = _answer(tasks, teller, options)
            for (number, _), answer in zip(numbered, tickets, strict=True):
                answers[number].append(answer)
            yield from (answer for answer in tickets if isinstance(answer, Ticket))
        asked = {number: _next(runs[number], tickets) for number, tickets in answers.items()}


def _begun(search: Search, problem: Problem) -> Generator[Iterable[Item], list[Any], None]:
    """The generator of a search."""
    generator = search(problem)
    if not isinstance(generator, Generator):
        came = type(generator).__name__
        raise SettingsError(f"search: wanted a generator function, which yields lists of requests; it gave {came}.")
    return generator


def _next(run: _Run, answers: list[Any] | None) -> Iterator[Item] | None:
    """What the search asks for when it is sent answers; None where it ends."""
    try:
        requests = run.search.send(answers)
    except StopIteration:
        return None
    if not isinstance(requests, Iterable):
        raise SettingsError(f"search: wanted lists of requests; got {type(requests).__name__}.")
    return iter(requests)


def _portions(asked: dict[int, Iterator[Item]], most: int) -> Iterator[list[tuple[int, Item]]]:
    """The requests of all runs in turn, level by level, a few at a time; each is made when it is reached."""
    ended = object()  # not None, which a search may yield by mistake
    in_turn = itertools.zip_longest(*asked.values(), fillvalue=ended)
    numbered = (
        (number, request)
        for requests in in_turn
        for number, request in zip(asked, requests, strict=True)
        if request is not ended
    )
    while portion := list(itertools.islice(numbered, most)):
        yield portion


def _answer(tasks: list[_Task], teller: Teller, options: Options) -> list[Any]:
    """What searches are sent for what they ask: tickets, stretched states, progress."""
    answers: dict[int, Any] = {}
    for number, task in enumerate(tasks):
        before = [other.item for other in tasks[:number] if other.run is task.run]
        levels = {*task.run.rows, *(item.level for item in before if isinstance(item, Request))}
        checks.check(task.item, task.run.shapes, levels)
        if isinstance(task.item, Progress):
            answers[number] = _settle_progress(task.run, task.item, options)
    stretches, requests = (
        {number: task for number, task in enumerate(tasks) if isinstance(task.item, kind)}
        for kind in (Stretch, Request)
    )
    answers |= zip(stretches, _stretch([*stretches.values()], teller), strict=True)
    answers |= zip(requests, _tickets([*requests.values()], teller, options), strict=True)
    return [answers[number] for number in range(len(tasks))]


def _tickets(tasks: list[_Task], teller: Teller, options: Options) -> list[Ticket]:
    """The tickets of requests: from disk, or the dense model that was given, or trained, measured and saved."""
    for task in tasks:
        _save_progress(task.run)  # what tickets are made of is not searched for again
    tickets = {number: ticket for number, task in enumerate(tasks) if (ticket := _finished(task)) is not None}
    waiting = [number for number in range(len(tasks)) if number not in tickets]
    for _, alike in itertools.groupby(waiting, key=lambda number: tasks[number].plan):
        numbers = list(alike)
        tickets |= zip(numbers, _train([tasks[number] for number in numbers], teller, options), strict=True)
    for number, task in enumerate(tasks):
        run, ticket = task.run, tickets[number]
        run.rows[ticket.level], run.costs[ticket.level] = result(ticket).row(), ticket.cost
        run.dense = ticket if ticket.level == 0 else run.dense
    # What was there already has its rows: to write them one by one would cut the table of later levels.
    for run in {id(tasks[number].run): tasks[number].run for number in waiting}.values():
        if run.folder:
            run.folder.write_results(list(run.rows.values()))
    for number, task in enumerate(tasks):  # all are saved by now: who is told may raise
        ticket = tickets[number]
        teller.found(task.run.problem, ticket, task.run.rows[ticket.level], resumed=number not in waiting)
    return [tickets[number] for number in range(len(tasks))]


def _stretch(tasks: list[_Task], teller: Teller) -> list[Stretched]:
    """Train stretches, those of one length together; nothing of them is saved or measured."""
    stretched: dict[int, Stretched] = {}

    def alike(number: int) -> tuple[Plan, bool]:
        return tasks[number].plan, tasks[number].item.sum_gradients

    for (plan, sum_gradients), group in itertools.groupby(range(len(tasks)), key=alike):
        numbers = list(group)
        first = tasks[numbers[0]]
        steps_per_epoch = first.run.problem.program.steps_per_epoch
        epoch = int(first.item.start.step) // steps_per_epoch
        share = first.run.problem.sparsity(first.item.masks)
        seeds = [tasks[number].run.problem.settings.seed for number in numbers]
        hooks = Hooks(report=teller.search_report(share, epoch, plan.epochs, seeds))
        members = []
        for number in numbers:
            run, item = tasks[number]
            state = begin(item.start, epoch, sum_gradients)
            members.append(Member(f"the search of seed {run.problem.settings.seed}", item.masks, item.key, state))
        states = fit(first.run.problem.trainer._replace(plan=plan), members, hooks)
        for number, state in zip(numbers, states, strict=True):
            effort = Effort(steps=tasks[number].item.epochs * steps_per_epoch, seconds=float(state.seconds))
            stretched[number] = Stretched(state.train, state.meter.gradients, effort)
    return [stretched[number] for number in range(len(tasks))]


def _settle_progress(run: _Run, item: Progress, options: Options) -> Any:
    """Keep how far a search is, on disk now and then; the first is answered by the last one that lies there."""
    is_first = run.progress is None
    if is_first and run.folder and (saved := _saved_progress(run, item)) is not None:
        run.num_progress, item = saved[0], Progress(saved[1])
        run.saved_progress = run.num_progress, time.monotonic()
    run.progress, run.num_progress = item, run.num_progress + (not is_first)
    if processes.of_first(time.monotonic() - run.saved_progress[1] >= options.save_seconds):
        _save_progress(run)
    return item.carry


def _saved_progress(run: _Run, item: Progress) -> tuple[int, Any] | None:
    saved = run.folder.load_progress(run.problem.as_saved(item.carry), item.grows)
    return None if saved is None else (saved[0], run.problem.placed_like(saved[1], item.carry))


def _save_progress(run: _Run) -> None:
    if run.folder and run.progress is not None and run.num_progress > run.saved_progress[0]:
        run.folder.save_progress(run.num_progress, run.problem.as_saved(run.progress.carry))
        run.saved_progress = run.num_progress, time.monotonic()


def _finished(task: _Task) -> Ticket | None:
    """The ticket that lies in the run's folder, or the dense model that was given, as its own."""
    run, request = task
    ticket = None
    if run.folder:
        masks = run.problem.as_saved(request.masks)
        ticket = run.folder.load_ticket(request.level, masks, run.template)
        ticket = None if ticket is None else run.problem.off_devices(ticket)
    if ticket is None and request.level == 0 and run.given_dense is not None:
        problem = run.problem
        own = {"settings": problem.settings, "optimizer": problem.optimizer_name, "given": problem.given}
        # Trained again it was judged beside the one before.
        ticket = dataclasses.replace(run.given_dense, **own, verdict=verdict.DENSE, parent=None)
        if run.folder:
            run.folder.save_ticket(ticket)
    if ticket is not None and ticket.cost is None:  # of an older version
        ticket = dataclasses.replace(ticket, cost=_cost(task, ticket.epochs, ticket.seconds))
    return ticket


def _cost(task: _Task, epochs: int, seconds: float) -> Cost | None:
    """What a ticket cost; None where its parent's is not known.

    Args:
      task: the request.
      epochs: at which its training ended.
      seconds: that took.
    """
    run, request = task
    own, search = own_effort(run.problem, request, epochs, seconds), request.search
    if search is None and request.parent is not None:
        if (parent := run.costs.get(request.parent)) is None:
            return None
        search = parent.whole
    unit = own if request.level == 0 else run.costs[0].own if run.costs.get(0) else Effort()
    return Cost(search or Effort(), own, unit.steps)


def own_effort(problem: Problem, request: Request, epochs: int, seconds: float) -> Effort:
    """What a ticket's own training cost.

    Args:
      problem: with the length of an epoch.
      request: with where it started.
      epochs: at which it ended.
      seconds: that took.
    """
    steps_per_epoch = problem.program.steps_per_epoch
    began, eval_every = int(request.start.step) // steps_per_epoch, (request.plan or problem.plan).eval_every
    evaluations = -(-epochs // eval_every) - began // eval_every
    return Effort((epochs - began) * steps_per_epoch, evaluations, seconds)


def _train(tasks: list[_Task], teller: Teller, options: Options) -> list[Ticket]:
    """Train requests of one plan, going on from their snapshots if there are any; measure and save them."""
    begun = [_begin(task) for task in tasks]
    steps_per_epoch = tasks[0].run.problem.program.steps_per_epoch
    epoch = min(int(state.train.step) for state in begun) // steps_per_epoch
    first = tasks[0].item
    show = teller.bars.level(first.level, tasks[0].run.problem.sparsity(first.masks), epoch)
    for (run, request), state in zip(tasks, begun, strict=True):
        start, stands = (int(step) // steps_per_epoch for step in (request.start.step, state.train.step))
        share = run.problem.sparsity(request.masks)
        teller.level_begun(run.problem, request.level, share, start, stands, tasks[0].plan)

    def report(number, epoch, loss, evaluation):
        show(epoch, loss, evaluation)
        run, request = tasks[number]
        if evaluation and run.folder:
            run.folder.log(request.level, evaluation, run.problem.selection_name)
        teller.trained(run.problem, request.level, epoch, loss, evaluation)

    def save(states):
        for (run, request), state in zip(tasks, states, strict=True):
            if run.folder:
                run.folder.save_snapshot(request.level, run.problem.as_saved(state))

    trainer = tasks[0].run.problem.trainer._replace(plan=tasks[0].plan)
    members = [member(run.problem, request, state) for (run, request), state in zip(tasks, begun, strict=True)]
    states = fit(trainer, members, Hooks(report, save, options.save_seconds))
    tickets = []
    for task, state in zip(tasks, states, strict=True):
        run, request = task
        cost = _cost(task, int(state.evaluated_epoch), float(state.seconds))
        ticket = as_ticket(run.problem, request, state, run.dense, cost)
        if run.folder:
            run.folder.save_ticket(ticket)
        tickets.append(run.problem.off_devices(ticket))
    return tickets


def _begin(task: _Task) -> FitState:
    """Where training begins, or goes on."""
    run, request = task
    state = begin(request.start, int(request.start.step) // run.problem.program.steps_per_epoch)
    if run.folder:
        saved = run.folder.load_snapshot(request.level, run.problem.shapes_as_saved(state))
        if saved is not None:
            like = state.replace(kept=None if saved.kept is None else state.train, best_means=saved.best_means)
            taken_up = run.problem.placed_like(saved, like)
            # Masks of one size differ in something that was kept, and trained: what they are need not be saved.
            if masking.num_astray(request.masks, taken_up.train.params):
                run.folder.drop_snapshots(request.level)
                warnings.warn(
                    f"{run.folder.path}: the snapshot of level {request.level} has weights that its masks prune now, "
                    "of another level before it. The level begins anew.",
                    stacklevel=2,
                )
            else:
                state = taken_up
        run.folder.trim_log(request.level, int(state.evaluated_epoch))
    return state


def member(problem: Problem, request: Request, state: FitState) -> Member:
    """A request as `fit` takes it.

    Args:
      problem: with the key of the batches.
      request: what is asked for.
      state: where training begins, or goes on.
    """
    name = f"level {request.level} of seed {problem.settings.seed}"
    return Member(name, request.masks, problem.key(Purpose.BATCHES, request.level), state)


def as_ticket(problem: Problem, request: Request, state: FitState, dense: Ticket | None, cost: Cost | None) -> Ticket:
    """A trained request as a ticket: its best epoch on the test part, and the verdict against the dense model.

    On several devices its tables are as files have them, and still there.

    Args:
      problem: with the parts to measure on.
      request: what was asked for.
      state: what came of it.
      dense: the dense model of the same seed.
      cost: of the search and of the training.
    """
    settings, best_epoch = problem.settings, int(state.best_epoch)
    measured = measure(problem, problem.program, state.best.params, best_epoch, dense, state.best_means)
    if request.level == 0 and dense is None:
        measured = measured._replace(verdict=verdict.DENSE)
    origin = None
    if settings.rewind_epoch is not None:
        origin = state.kept if request.level == 0 else request.start
    elif settings.rewind == "none" and request.level:
        origin = request.start
    final = None
    if settings.prune_from == "last" or settings.rewind == "none":
        final = state.train if settings.prune_from == "last" else state.best
    return Ticket(
        level=request.level,
        masks=problem.as_saved(request.masks),
        start=problem.as_saved(request.start.params),
        trained=problem.as_saved(state.best.params),
        **measured._asdict(),
        best_epoch=best_epoch,
        epochs=int(state.evaluated_epoch),
        seconds=float(state.seconds),
        cost=cost,
        parent=request.parent,
        settings=settings,
        optimizer=problem.optimizer_name,
        optimizer_label=problem.optimizer_label,
        given=problem.given,
        fingerprint=problem.split.fingerprint,
        origin=problem.as_saved(origin),
        final=problem.as_saved(final),
    )


def _description(problem: Problem) -> dict[str, Any]:
    return identity.describe(
        problem.settings,
        problem.split,
        problem.optimizer_name,
        problem.given,
        problem.optimizer_label,
        problem.exchange,
    )
