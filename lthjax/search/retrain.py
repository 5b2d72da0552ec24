"""One ticket, trained again by itself."""

import dataclasses
from typing import Any

import optax

from lthjax.data import resolve
from lthjax.errors import DataError
from lthjax.events import OnEvent
from lthjax.model.backbones import Backbone
from lthjax.model.losses import Loss
from lthjax.search.executor import as_ticket, member, own_effort
from lthjax.search.given import Given
from lthjax.search.problem import Problem, prepare
from lthjax.search.steps import Request
from lthjax.search.telling import Teller, check_listener
from lthjax.tickets import ticket as ticketing
from lthjax.tickets.ticket import Ticket, result
from lthjax.training import progress
from lthjax.training.fit import Evaluation, Hooks, begin, fit
from lthjax.training.time_left import TimeLeft


def retrain(
    ticket: Ticket,
    data: Any = None,
    *,
    optimizer: optax.GradientTransformation | str | None = None,
    optimizer_name: str | None = None,
    backbone: Backbone | None = None,
    loss: Loss | str | None = None,
    show_progress: bool | None = None,
    on_event: OnEvent | None = None,
    **changes: Any,
) -> Ticket:
    """Train a ticket again from where it started; the same settings and device give the same weights.

    One that was trained together with others comes out the same to rounding.

    Args:
      ticket: what is kept and where it starts.
      data: as in `find_tickets`; by default what the ticket was found on.
      optimizer: a name, as the setting, or any Optax transformation; by default what the settings name. A ticket found
        with a given optimizer does not know it. It starts afresh, unless it is the one that the settings of the ticket
        name, and the ticket started with its moments (rewind epoch:K, none).
      optimizer_name: what a given one is called in tables; by default what it tells of itself.
      backbone: in place of what the settings name; a ticket found with a given one does not know it either.
      loss: likewise.
      show_progress: progress bars; None shows them on a terminal.
      on_event: a function that is told what happens, as of `find_tickets`: of a run of one level.
      **changes: single settings, such as `model="lightgcn"` or `epochs=200`.

    Returns:
      A ticket whose verdict compares it with the one it was made from, where the data are the same.

    Raises:
      DataError: the data do not have the ticket's users and items, or are not those that its settings name.
      SettingsError: its rows lie in several processes.
    """
    ticket = ticketing.whole(ticket)
    check_listener(on_event)
    given = Given(backbone=backbone, loss=loss, optimizer=optimizer, optimizer_label=optimizer_name)
    given, named = given.without_names()
    settings, split = resolve.settle(data, ticket.settings, changes | named)
    problem = prepare(split, settings, given)
    if "dense" in ticket.given:  # what it is made of was trained elsewhere still
        problem = dataclasses.replace(problem, given=problem.given | {"dense": ticket.given["dense"]})
    _check_shapes(ticket, problem)
    same_data = ticket.fingerprint == split.fingerprint
    if data is None and not same_data:
        raise DataError(
            f"{split.name}: wanted the data that the ticket was found on; got others (fingerprints differ)."
        )
    start = problem.program.start(ticket.start, ticket.masks)
    if ticket.level and given.optimizer is None and problem.optimizer_name == ticket.optimizer:
        ticket = ticketing.with_states(ticket, start)
        start = ticket.origin or start
    plan = problem.plan
    if ticket.level == 0:  # later levels may rewind to one of its epochs
        plan = dataclasses.replace(plan, keep_epoch=settings.rewind_epoch)
    request = Request(ticket.level, ticket.masks, start, parent=ticket.level, plan=plan)
    state = begin(start, int(start.step) // problem.program.steps_per_epoch)
    with progress.bars(1, plan, show_progress, problem.selection_name) as bars:
        teller = Teller(bars, TimeLeft(1), on_event)
        with teller.run(problem, None, num_levels=1):
            stands = int(state.best_epoch)
            show = bars.level(ticket.level, ticket.sparsity, stands)
            teller.level_begun(problem, ticket.level, ticket.sparsity, stands, stands, plan)

            def report(_: int, epoch: int, loss: float, evaluation: Evaluation | None) -> None:
                show(epoch, loss, evaluation)
                teller.trained(problem, ticket.level, epoch, loss, evaluation)

            trainer = problem.trainer._replace(plan=plan)
            (state,) = fit(trainer, [member(problem, request, state)], Hooks(report=report))
            own = own_effort(problem, request, int(state.evaluated_epoch), float(state.seconds))
            cost = None if ticket.cost is None else ticket.cost._replace(own=own)
            again = as_ticket(problem, request, state, ticket if same_data else None, cost)
            teller.found(problem, again, result(again).row(), resumed=False)
    return again


def _check_shapes(ticket: Ticket, problem: Problem) -> None:
    split, dim = problem.split, problem.settings.dim
    wanted = tuple(part.shape for part in ticket.masks)
    came = ((split.num_users, dim), (split.num_items, dim))
    if wanted != came:
        raise DataError(f"{split.name}: wanted the ticket's users and items, {wanted}; got {came}.")
