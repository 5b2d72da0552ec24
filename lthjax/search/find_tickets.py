"""The whole of it: from data and settings to tickets, one after the other."""

import operator
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import optax

from lthjax import presets
from lthjax.data import resolve
from lthjax.data.split import Split
from lthjax.errors import SettingsError
from lthjax.events import OnEvent
from lthjax.model.backbones import Backbone
from lthjax.model.losses import Loss
from lthjax.pruning.rules import Score
from lthjax.search.dynamic import dynamic
from lthjax.search.early import early
from lthjax.search.executor import Options, execute
from lthjax.search.gradual import gradual
from lthjax.search.imp import imp
from lthjax.search.one_shot import one_shot
from lthjax.search.problem import Given, Problem, prepare
from lthjax.search.short import short
from lthjax.search.steps import Search
from lthjax.settings import MOST_SEEDS, PruningSettings, Settings, names
from lthjax.tickets.ticket import Ticket
from lthjax.training.time_left import TimeLeft

SEARCHES: dict[str, Search] = {  # by the names of --search
    "imp": imp,
    "one-shot": one_shot,
    "short": short,
    "early": early,
    "gradual": gradual,
    "dynamic": dynamic,
}


def find_tickets(
    data: Any = None,
    *,
    search: Search | str | None = None,
    score: Score | None = None,
    backbone: Backbone | None = None,
    loss: Loss | None = None,
    optimizer: optax.GradientTransformation | None = None,
    out: str | Path | None = None,
    settings: Settings | None = None,
    seeds: int | Iterable[int] | None = None,
    dense: Ticket | Iterable[Ticket] = (),
    together: bool | None = None,
    show_progress: bool | None = None,
    save_seconds: float = 30.0,
    on_event: OnEvent | None = None,
    **changes: Any,
) -> Iterator[Ticket]:
    """Find winning tickets: yields the dense model as level 0, then one ticket per pruning.

        for ticket in lthjax.find_tickets("ml-latest-small", model="mf", levels=10):
            print(ticket)

    With several seeds every ticket tells its own (`ticket.settings.seed`); its verdict is against the dense model of
    that seed. Trained together they come level by level, in turn they come seed by seed.

    Args:
      data: name, path, SciPy sparse matrix, pandas DataFrame, Interactions or Split; by default `settings.data`.
      search: a name, as the setting; or a generator function, see `lthjax.search.steps`.
      score: (parameters, key) -> a score for each entry, the lowest are pruned; in place of `prune_by`.
      backbone: (layer-0 embeddings, graph) -> final embeddings; in place of `model`.
      loss: (final embeddings, layer-0 embeddings, batch) -> number; in place of BPR with `l2`.
      optimizer: any Optax transformation; by default Adam with `settings.learning_rate`.
      out: run folder; with `seeds` each has its own in there, `seed_0` and so on. With one, the same call again goes on
        where it was stopped, if it is given the same functions; without one nothing is written.
      settings: where to start from; by default `Settings()`, or `presets.lightgcn` with `model="lightgcn"`.
      seeds: a number of runs that start from `settings.seed` and count up, or the seeds themselves.
      dense: finished dense models (level 0), each for the run with its seed, which then trains none of its own: runs
        that differ in how they prune can share it.
      together: train as one program what does not wait for one another: seeds, and levels that are all pruned from the
        dense model; None does so but on a CPU, where it is not faster (`experiments.speed.population`).
      show_progress: progress bars; None shows them on a terminal.
      save_seconds: time between two snapshots of the level in work.
      on_event: a function that is told what happens, see `lthjax.events`; `lthjax.trackers` has some.
      **changes: single settings, such as `dim=64`.

    Raises:
      LthjaxError: one line that says what was wanted, what came, and where. Settings and data are checked at the call,
        a run folder when the first ticket that goes there is asked for.
    """
    if isinstance(search, str):
        changes["search"], search = search, None
    if isinstance(data, Split) and settings is None:
        changes["data"] = None
    of_model = presets.for_model("none", changes.get("model", "mf"))
    settings, split = resolve.settle(data, settings or presets.find(of_model), changes)
    problem = prepare(split, settings, Given(search, score, backbone, loss, optimizer))
    given_dense = {ticket.settings.seed: ticket for ticket in ([dense] if isinstance(dense, Ticket) else dense)}
    for ticket in given_dense.values():
        _check_dense(ticket, problem)
    together = jax.default_backend() != "cpu" if together is None else together
    if on_event is not None and not callable(on_event):
        raise SettingsError(f"on_event: wanted a function of one event; got {on_event!r:.60}.")
    options = Options(together, show_progress, save_seconds, on_event)
    search, out = search or SEARCHES[settings.search_name], None if out is None else Path(out)
    if seeds is None:
        return execute(search, [problem], [out], given_dense, options)
    problems = [problem.with_seed(seed) for seed in _seeds(seeds, settings.seed)]
    paths = [None if out is None else out / f"seed_{problem.settings.seed}" for problem in problems]
    if together:
        return execute(search, problems, paths, given_dense, options)
    options = options._replace(time_left=TimeLeft((settings.num_levels + 1) * len(problems)))
    in_turn = (execute(search, [one], [path], given_dense, options) for one, path in zip(problems, paths, strict=True))
    return (ticket for tickets in in_turn for ticket in tickets)


_MAY_DIFFER = {"preset", "data", "split", "seed", *names(PruningSettings)}  # a fingerprint tells data and split apart


def _check_dense(ticket: Ticket, problem: Problem) -> None:
    """Raise SettingsError where a dense model is not the one that the run would train."""
    settings = problem.settings
    wanted = {name: (getattr(settings, name), getattr(ticket.settings, name)) for name in names(Settings)}
    wanted |= {"optimizer": (problem.optimizer_name, ticket.optimizer)}
    wanted |= {kind: (problem.given.get(kind), ticket.given.get(kind)) for kind in ("backbone", "loss")}
    for name, (value, came) in wanted.items():
        if name not in _MAY_DIFFER and value != came:
            raise SettingsError(f"dense: wanted a model with {name} {value}; got {came}.")
    if ticket.level or ticket.fingerprint != problem.split.fingerprint:
        raise SettingsError(f"dense: wanted level 0 on {problem.split.name}; got level {ticket.level}, or other data.")
    before = ticket.settings
    needs_final = "last" in (settings.prune_from, before.prune_from) or settings.rewind == "none"
    lacks_origin = settings.rewind_epoch is not None and settings.rewind != before.rewind
    if lacks_origin or (needs_final and ticket.final is None):
        raise SettingsError(
            f"dense: wanted a model that kept what --rewind {settings.rewind} and --prune-from {settings.prune_from} "
            f"need; got one of --rewind {before.rewind} and --prune-from {before.prune_from}."
        )


def _seeds(seeds: int | Iterable[int], first: int) -> list[int]:
    number = operator.length_hint(seeds) if isinstance(seeds, Iterable) else operator.index(seeds)
    if number > MOST_SEEDS:
        raise SettingsError(f"seeds: wanted at most {MOST_SEEDS:,}; got {number:,}.")
    if isinstance(seeds, Iterable):
        chosen = [operator.index(seed) for seed in seeds]
    else:
        chosen = list(range(first, first + operator.index(seeds)))
    if not chosen or len(set(chosen)) < len(chosen):
        raise SettingsError(f"seeds: wanted at least one, and each once; got {chosen}.")
    return chosen
