"""What a run would need, before anything is trained: numbers, bytes, and time from a few timed steps and one ranking.

Letters: M users, N items, F dimensions, L levels.
"""

import math
import resource
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lthjax import metric_names
from lthjax.evaluation.ranking import RankingTask, evaluate
from lthjax.pruning import masks as masking
from lthjax.pruning.schedule import num_kept_at, rungs
from lthjax.search import dynamic, early, gradual, short
from lthjax.search.problem import Problem
from lthjax.search.steps import first_state
from lthjax.training.fit import begin
from lthjax.training.keys import Purpose
from lthjax.training.time_left import duration as in_time

# Epochs at which a level ends, over its patience: means of the 15 levels of MF and of LightGCN on MovieLens
# (experiments/results/ml-latest-small-*, 158 and 152 epochs with a patience of 60).
TYPICAL = 2.6


class Pace(NamedTuple):
    """How fast this machine is."""

    step: float  # seconds of one training step
    ranking: float  # seconds of one ranking of the users that choose the best epoch


class Duration(NamedTuple):
    """Seconds that a run takes."""

    least: float  # every level's patience ends as soon as it can; without patience, as `most`
    typical: float  # levels end as those of MovieLens did
    most: float  # every level trains to its limit


def measure_pace(problem: Problem, least_seconds: float = 1.0) -> Pace:
    """Time steps of the dense model until they take long enough to tell, and one ranking; compiling is left out.

    Args:
      problem: of the run.
      least_seconds: that the last portion of steps takes.
    """
    first = first_state(problem)
    masks, state = masking.all_kept(first.params), begin(first, 0)
    train, meter, key = state.train, state.meter, problem.key(Purpose.BATCHES)
    num_steps, step = 0, 0.0
    while step * num_steps < least_seconds:  # none at first: that compiles
        num_steps = max(1, 4 * num_steps) if step else num_steps
        began = time.monotonic()
        train, meter = jax.block_until_ready(
            problem.program.run_steps(train, meter, masks, problem.graph, key, jnp.int32(num_steps))
        )
        step = (time.monotonic() - began) / max(1, num_steps)
    for _ in range(2):  # the first compiles
        began = time.monotonic()
        final = jax.block_until_ready(problem.program.embed(train.params, problem.graph))
        evaluate(final, problem.sample, problem.plan.ks, metrics=problem.plan.metrics)
        ranking = time.monotonic() - began
    return Pace(step, ranking)


def search_epochs(problem: Problem) -> int:
    """Epochs that a search trains besides its tickets, at most; 0 for those that train none but tickets."""
    settings, num_levels = problem.settings, len(problem.levels)
    own = settings.search_epochs
    if num_levels == 0 or settings.search_name in ("imp", "one-shot"):
        return 0
    if settings.search_name == "short":
        kept = _kept(problem)
        num_rungs = sum(map(len, rungs(kept[1:], kept[0], settings.prune_rate)))
        return num_rungs * (own or short.EPOCHS[settings.model])
    return {
        "early": own or early.MOST_EPOCHS,
        "gradual": own or gradual.EPOCHS,
        "dynamic": num_levels * (own or dynamic.EPOCHS),
    }[settings.search_name]


def duration(problem: Problem, pace: Pace, num_tickets: int, num_searches: int = 1) -> Duration:
    """Seconds of a run on this machine.

    Args:
      problem: of the run.
      pace: of the machine.
      num_tickets: that are to be trained, dense models among them.
      num_searches: that are not done, one for each seed.
    """
    plan, epoch = problem.plan, problem.program.steps_per_epoch * pace.step
    ends = plan.epochs, plan.epochs, plan.epochs
    if plan.patience:
        soonest = plan.eval_every * (1 + math.ceil(plan.patience / plan.eval_every))
        ends = soonest, max(soonest, round(TYPICAL * plan.patience)), plan.epochs
    # A trained ticket is ranked for all users of its parts, though a sample of them may choose the epoch.
    parts = 1 if problem.valid is None else 2
    measured = parts * len(problem.selection.users) / len(problem.sample.users)

    def whole(end: int) -> float:
        epochs = min(end, plan.epochs)
        rankings = math.ceil(epochs / plan.eval_every) + measured
        return num_tickets * (epochs * epoch + rankings * pace.ranking)

    searches = num_searches * search_epochs(problem) * epoch
    return Duration(*(searches + whole(end) for end in ends))


def memory(problem: Problem) -> dict[str, int]:
    """Bytes that training holds, by what they are; a step's own gradient, update and batch are in "gradient"."""
    first = first_state(problem)
    tasks = [_lists_of(task) for task in (problem.test, problem.valid) if task is not None]
    weights = _num_bytes(first.params)
    state = weights + _num_bytes(first.opt_state)
    return {
        "weights": weights,
        "optimizer": state - weights,
        "gradient": 2 * weights,
        "masks": _num_bytes(masking.all_kept(first.params)),
        "best epoch": state,
        "start": state,
        "interactions": _num_bytes(problem.graph) + sum(map(_num_bytes, tasks)),
    }


def disk(problem: Problem) -> dict[str, int]:
    """Bytes that the folder of a run comes to: its tickets, and the largest snapshot while a level trains."""
    settings, kept = problem.settings, _kept(problem)
    state, num_users = _num_bytes(first_state(problem)), len(np.unique(problem.split.test[:, 0]))
    num_metrics = len(settings.lengths) * sum(name in metric_names.OF_USERS for name in settings.metric_names)
    values = sum(
        2 * 4 * number  # where it starts and ends, of what is kept
        + kept[0] // 8  # masks as bits
        + num_metrics * 4 * num_users
        for number in kept
    )
    finals = len(kept) if settings.prune_from == "last" or settings.rewind == "none" else 0
    origins = len(kept) if settings.rewind_epoch is not None else len(kept) - 1 if settings.rewind == "none" else 0
    snapshot = (2 if settings.rewind_epoch is None else 3) * state
    return {"tickets": values + (finals + origins) * state, "snapshot": snapshot}


def lines(problem: Problem, num_finished: Sequence[int], least_seconds: float = 1.0) -> list[str]:
    """What a run would need, in words.

    Args:
      problem: of the run, or of the first of several that differ in their seed.
      num_finished: tickets of each seed that are there already.
      least_seconds: as `measure_pace`.
    """
    settings, split, plan = problem.settings, problem.split, problem.plan
    kept, num_seeds = _kept(problem), len(num_finished)
    num_tickets = len(kept) * num_seeds - sum(num_finished)
    in_memory, on_disk = memory(problem), disk(problem)
    pace = measure_pace(problem, least_seconds)
    needed = duration(problem, pace, num_tickets, sum(number < len(kept) for number in num_finished))
    last = f"; level {len(kept) - 1} keeps {kept[-1]:,}, {1 - kept[-1] / kept[0]:.1%} pruned" if len(kept) > 1 else ""
    told = [
        f"table: {split.num_users:,} users + {split.num_items:,} items, {settings.dim} dimensions, "
        f"{kept[0]:,} entries{last}",
        f"tickets to train: {num_tickets}"
        + (f", of {num_seeds} seeds" if num_seeds > 1 else "")
        + (f"; {sum(num_finished)} are there already" if any(num_finished) else "")
        + (f"; {epochs} epochs of --search {settings.search_name}" if (epochs := search_epochs(problem)) else ""),
        f"memory: {_in_words(in_memory)}: {_size(sum(in_memory.values()))} in all; "
        f"so far this process took {_size(_peak())} at most",
        f"disk: {_in_words({name: size * num_seeds for name, size in on_disk.items()})}",
        f"pace: {1000 * pace.step:.3g} ms a step, {problem.program.steps_per_epoch:,} steps an epoch, "
        f"{pace.ranking:.3g} s a ranking",
        f"time here: at most {in_time(needed.most)}, if every level trains {plan.epochs} epochs",
    ]
    if needed.typical < needed.most:
        guess = f"guessed: levels end after {TYPICAL:g} times their patience of {plan.patience}, as on MovieLens"
        told.append(f"typically {in_time(needed.typical)} ({guess}); at least {in_time(needed.least)}")
    return [*told, "dry run: nothing was written."]


def _kept(problem: Problem) -> list[int]:
    split, settings = problem.split, problem.settings
    return num_kept_at(settings, (split.num_users + split.num_items) * settings.dim)


def _lists_of(task: RankingTask) -> list[np.ndarray]:
    return [task.users, *(part for lists in (task.seen, task.relevant) for part in (lists.starts, lists.ids))]


def _num_bytes(tree: Any) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def _peak() -> int:
    """Bytes of memory that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _in_words(sizes: dict[str, int]) -> str:
    return ", ".join(f"{name} {_size(size)}" for name, size in sizes.items())


def _size(num_bytes: float) -> str:
    return f"{num_bytes / 2**30:.1f} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:.1f} MiB"
