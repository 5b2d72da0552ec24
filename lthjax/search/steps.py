"""The steps that searches are made of: train the dense model, prune, rewind; or train a few epochs, prune, go on.

A search is a generator. It yields requests, a few at a time (those that do not wait for one another), and is sent the
trained tickets in the same order:

    def search(problem):
        (ticket,) = yield [dense(problem)]
        masks = prune(problem, ticket, level=1)
        yield [Request(1, masks, rewind(problem, ticket, masks, level=1), parent=0)]

A search that trains besides its tickets yields `Stretch`es, and is sent `Stretched` states. It measures nothing on the
validation or the test part. What it needs to go on after it was killed it yields as `Progress`.

Disk, seeds and Ctrl-C are the executor's. A search that is stopped begins again from its start, and is sent the tickets
that are there already: what it yields may depend on the problem and on what it is sent alone.

Rewinding, by `--rewind`:

| mode | weights | optimizer | asks |
|---|---|---|---|
| init | the dense model's first values | afresh | the lottery ticket hypothesis (Frankle and Carbin 2019) |
| epoch:K | the dense model's after K epochs | as it was then | the stabilized hypothesis (Frankle et al. 2019) |
| reinit | freshly drawn | afresh | is it the structure alone? |
| none | as trained | as it was | fine-tuning (the paper's "w/o rewinding") |
| lr | as trained | afresh | learning-rate rewinding (Renda et al. 2020) |
"""

import dataclasses
from collections.abc import Callable, Generator, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lthjax.errors import SettingsError
from lthjax.pruning import masks as masking
from lthjax.pruning import rules
from lthjax.pruning.masks import Masks
from lthjax.pruning.schedule import rate_of
from lthjax.search.problem import Problem
from lthjax.tickets.effort import Effort
from lthjax.tickets.ticket import Ticket
from lthjax.training.fit import Plan
from lthjax.training.keys import Purpose
from lthjax.training.step import TrainState


class Request(NamedTuple):
    """A ticket to train."""

    level: int  # its number, each once in a run; 0 is the dense model
    masks: Masks  # True where an entry is kept
    start: TrainState  # weights and optimizer before the first step; its step says at which epoch it stands
    parent: int | None = None  # level of the ticket that was pruned for it
    plan: Plan | None = None  # how long it trains; None for the run's own plan
    search: Effort | None = None  # before masks and start were fixed; None: the parent's search and its training


class Stretch(NamedTuple):
    """Some epochs of training that end in no ticket."""

    masks: Masks  # True where an entry is kept
    start: TrainState  # its step says at which epoch it stands
    key: jax.Array  # of the batches
    epochs: int  # to train from there
    sum_gradients: bool = False  # of all entries, pruned ones too


class Stretched(NamedTuple):
    """What comes of a stretch."""

    state: TrainState
    gradients: Any  # sums over its steps, shaped like the parameters; None unless asked for
    effort: Effort


class Progress(NamedTuple):
    """How far a search is; the first one that a run yields is answered by the last one that was saved, if any."""

    carry: Any  # a pytree of arrays, of the same shapes each time
    grows: bool = False  # of the first: one of fewer levels may be gone on from, what it lacks being as in this one


Item = Request | Stretch | Progress  # what searches yield
Search = Callable[[Problem], Generator[Iterable[Item], list[Any], None]]


def first_state(problem: Problem) -> TrainState:
    """The first values of the run's seed, or the table that it was given; nothing pruned."""
    drawn = problem.table is None
    params = problem.program.init(problem.key(Purpose.FIRST_VALUES)) if drawn else problem.placed(problem.table)
    return problem.program.start(params, problem.all_kept(params))


def dense(problem: Problem) -> Request:
    """The dense model, from the first values."""
    start = first_state(problem)
    plan = dataclasses.replace(problem.plan, keep_epoch=problem.settings.rewind_epoch)
    return Request(0, problem.all_kept(start.params), start, plan=plan)


def pruned(problem: Problem, ticket: Ticket, level: int) -> Request:
    """The ticket of a level that is pruned from another one.

    Args:
      problem: with score, schedule and rewind mode.
      ticket: what is pruned.
      level: of the next ticket.
    """
    settings, masks = problem.settings, prune(problem, ticket, level)
    is_blind = settings.prune_by in rules.BLIND and "score" not in problem.given
    # Masks and start that no training was needed for cost nothing, though the dense model stands beside them.
    search = Effort() if is_blind and settings.rewind in ("init", "reinit") else None
    return Request(level, masks, rewind(problem, ticket, masks, level), parent=ticket.level, search=search)


def prune(problem: Problem, ticket: Ticket, level: int) -> Masks:
    """The masks of a level: those of the ticket without the entries of the lowest score.

    Args:
      problem: with the score, and how much each level prunes.
      ticket: what is pruned.
      level: from 1.
    """
    trained, key = _final(problem, ticket).params, problem.key(Purpose.RANDOM_PRUNING, level)
    scores = scores_of(problem, trained, lambda: problem.placed(ticket.start), key)
    rate = rate_of(problem.settings, level, ticket.level, problem.num_entries)
    return pruned_by(problem, scores, problem.placed(ticket.masks), rate)


def pruned_by(problem: Problem, scores: Any, masks: Masks, rate: float) -> Masks:
    """`rules.prune` as the settings have it, where the run computes.

    Args:
      problem: with scope and count.
      scores: like the parameters.
      masks: what is kept so far.
      rate: share to prune of it.

    Raises:
      SettingsError: a score given in code is no number.
    """
    settings = problem.settings
    if "score" in problem.given:
        astray = jax.tree.map(lambda m, score: m & jnp.isnan(score), masks, scores)
        if number := masking.num_kept(astray):
            raise SettingsError(f"score: wanted a number for each entry that is kept; got {number:,} that are NaN.")
    how = settings.prune_scope, settings.min_per_row, settings.prune_count
    return rules.prune(scores, masks, rate, *how, layout=problem.layout)


def scores_of(problem: Problem, trained: Any, start: Callable[[], Any], key: jax.Array) -> Any:
    """The scores of entries; the lowest fall.

    Args:
      problem: with the score.
      trained: parameters.
      start: gives those that training began with, where it is asked: pruned by movement, |trained - start| counts.
      key: of random scores.
    """
    if problem.settings.prune_by == "movement" and "score" not in problem.given:
        trained = jax.tree.map(jnp.subtract, trained, start())
    return problem.score(trained, key)


def rewind(problem: Problem, ticket: Ticket, masks: Masks, level: int) -> TrainState:
    """Where the next ticket starts: pruned weights and moments are 0, the others are bit-equal to their source.

    Args:
      problem: with the mode.
      ticket: what was pruned.
      masks: the entries that are kept.
      level: of the next ticket.
    """
    if problem.settings.rewind_epoch is not None:
        # Its step stands at epoch K: epochs are counted from there.
        return problem.program.mask_state(problem.placed(ticket.origin), masks)
    return restart(problem, masks, level, problem.placed(ticket.start), lambda: _final(problem, ticket))


def restart(problem: Problem, masks: Masks, level: int, first: Any, trained: Callable[[], TrainState]) -> TrainState:
    """The same, by what there is to start from; not for epoch:K.

    Args:
      problem: with the mode.
      masks: the entries that are kept.
      level: of the next ticket.
      first: first values.
      trained: gives the state that was pruned.
    """
    program, mode = problem.program, problem.settings.rewind
    if mode == "reinit":
        return program.start(program.init(problem.key(Purpose.FRESH_VALUES, level)), masks)
    if mode == "lr":
        return program.start(trained().params, masks)
    if mode == "none":
        state = program.mask_state(trained(), masks)
        return state.replace(step=jnp.zeros_like(state.step))
    return program.start(first, masks)


def _final(problem: Problem, ticket: Ticket) -> TrainState:
    """The state of a ticket that is pruned."""
    if ticket.final:
        return problem.placed(ticket.final)
    return problem.program.start(*problem.placed((ticket.trained, ticket.masks)))
