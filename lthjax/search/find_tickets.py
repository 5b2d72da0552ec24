"""The whole of it: from data and settings to tickets, one after the other."""

import dataclasses
import operator
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import optax

from lthjax import presets
from lthjax.data import resolve
from lthjax.data.share import Share
from lthjax.data.split import Split
from lthjax.errors import SettingsError
from lthjax.events import OnEvent
from lthjax.model.backbones import Backbone
from lthjax.model.losses import Loss
from lthjax.pruning.rules import Score
from lthjax.runtime import processes
from lthjax.runtime.environment import environment
from lthjax.search import from_dense, shares
from lthjax.search.dry_run import search_epochs
from lthjax.search.dynamic import dynamic
from lthjax.search.early import early
from lthjax.search.executor import Options, check_folders, execute
from lthjax.search.given import Given
from lthjax.search.gradual import gradual
from lthjax.search.imp import imp
from lthjax.search.one_shot import one_shot
from lthjax.search.problem import Problem, multiplies, prepare
from lthjax.search.short import short
from lthjax.search.steps import Search, first_state
from lthjax.search.telling import check_listener
from lthjax.settings import MOST_SEEDS, FitSettings, PruningSettings, Settings, StepSettings, names
from lthjax.sharding.exchange import Exchange
from lthjax.tickets import extension
from lthjax.tickets.ticket import Ticket, with_states
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
    loss: Loss | str | None = None,
    optimizer: optax.GradientTransformation | str | None = None,
    optimizer_name: str | None = None,
    out: str | Path | None = None,
    settings: Settings | None = None,
    seeds: int | Iterable[int] | None = None,
    dense: Ticket | Iterable[Ticket] = (),
    together: bool | None = None,
    show_progress: bool | None = None,
    save_seconds: float = 30.0,
    on_event: OnEvent | None = None,
    mesh: jax.sharding.Mesh | None = None,
    exchange: Exchange = "gather",
    **changes: Any,
) -> Iterator[Ticket]:
    """Find winning tickets: yields the dense model as level 0, then one ticket per pruning.

        for ticket in lthjax.find_tickets("ml-latest-small", model="mf", levels=10):
            print(ticket)

    With several seeds every ticket tells its own (`ticket.settings.seed`); its verdict is against the dense model of
    that seed. Trained together they come level by level, in turn they come seed by seed.

    Args:
      data: name, path, pattern such as "logs/*.csv", SciPy sparse matrix, pandas or polars frame, Arrow table, list of
        paths or of frames, Interactions or Split; by default `settings.data`.
      search: a name, as the setting; or a generator function, see `lthjax.search.steps`.
      score: (parameters, key) -> a score for each entry, the lowest are pruned; in place of `prune_by`.
      backbone: (layer-0 embeddings, graph) -> final embeddings; in place of `model`.
      loss: a name, as the setting; or (final embeddings, layer-0 embeddings, batch) -> number, where the batch has
        negatives [B], or [B, n] with `negatives` above 1.
      optimizer: a name, as the setting; or any Optax transformation, which has a learning rate of its own.
      optimizer_name: what that is called in tables, such as "lion, 1e-3"; by default what it tells of itself.
      out: run folder; with `seeds` each has its own in there, `seed_0` and so on. With one, the same call again goes on
        where it was stopped, if it is given the same functions, and one with more levels, sparser sparsities or more
        seeds adds them (`lthjax.tickets.extension`); without one nothing is written.
      settings: where to start from; by default `Settings()`, or `presets.lightgcn` with `model="lightgcn"`, or those of
        a table that was trained elsewhere.
      seeds: a number of runs that start from `settings.seed` and count up, or the seeds themselves.
      dense: finished dense models (level 0), each for the run with its seed, which then trains none of its own: runs
        that differ in how they prune can share it, in memory or from `load_ticket`. Or a table that was trained
        elsewhere, of `lthjax.from_dense`: one serves every seed, and what searches train starts from it.
      together: train as one program what does not wait for one another: seeds, and levels that are all pruned from the
        dense model; None does so but on a CPU, where it is not faster (`experiments.speed.population`).
      show_progress: progress bars; None shows them on a terminal.
      save_seconds: time between two snapshots of the level in work.
      on_event: a function that is told what happens, see `lthjax.events`; `lthjax.trackers` has some.
      mesh: several devices that the tables are dealt out to, one axis of the name "rows": `lthjax.mesh()` is of all
        there are. Tickets are the same as on one; they hold NumPy arrays. Of several processes each holds its rows of
        them, as `ShardedTable`s, and the training interactions that its devices need, where data or settings name files
        whose parts lie ready (`data.share`).
      exchange: how LightGCN gets the rows of other devices. "gather": all of one side, 32 columns at a time. "ring":
        those of one device after the other, which takes less memory from four devices on, and sums in another order:
        weights are those of one device to about 1e-5, not to the bit. A run folder keeps which it was, and a run that
        goes on with the other warns.
      **changes: single settings, such as `dim=64`.

    Raises:
      LthjaxError: one line that says what was wanted, what came, and where. Settings and data are checked at the call,
        a run folder when the first ticket that goes there is asked for.
    """
    given, named = Given(search, score, backbone, loss, optimizer, optimizer_name).without_names()
    changes |= named
    if isinstance(data, Split | Share) and settings is None:
        changes["data"] = None
    finished = _tickets(dense)
    tables = [ticket for ticket in finished if "dense" in ticket.given]
    if settings is None and tables:
        settings = tables[0].settings
    of_model = presets.for_model("none", changes.get("model", "mf"))

    def load(data: Any, settings: Settings) -> Split | Share:
        return shares.load(data, settings, mesh, multiplies(settings, given))[0]

    settings, split = resolve.settle(data, settings or presets.find(of_model), changes, load)
    if processes.is_several():
        _check_alike(settings, split, given, mesh, seeds, exchange)
    problem = prepare(split, settings, given, mesh, exchange)
    if tables:
        from_dense.check_search(problem)
    finished = [checked_dense(ticket, problem) for ticket in finished]
    together = jax.default_backend() != "cpu" if together is None else together
    check_listener(on_event)
    search, out = given.search or SEARCHES[settings.search_name], _folder(out)
    chosen = [settings.seed] if seeds is None else _seeds(seeds, settings.seed)
    given_dense = _by_seed(finished, tables, chosen)
    problems = [problem.with_seed(seed) for seed in chosen]
    foreseen = {} if given.search else dict.fromkeys(chosen, search_epochs(problem))
    time_left = TimeLeft((settings.num_levels + 1) * len(problems), search_epochs=foreseen)
    options = Options(together, show_progress, save_seconds, on_event, time_left)
    if tables:
        problems = [one.with_table(given_dense[one.settings.seed]) for one in problems]
    if seeds is None:
        return execute(search, problems, [out], given_dense, options)
    paths = [None if out is None else out / f"seed_{problem.settings.seed}" for problem in problems]
    if together:
        return execute(search, problems, paths, given_dense, options)
    return _in_turn(search, problems, paths, given_dense, options)


def _check_alike(
    settings: Settings,
    split: Split | Share,
    given: Given,
    mesh: jax.sharding.Mesh | None,
    seeds: Any,
    exchange: Exchange,
) -> None:
    """Raise SettingsError where processes would not do the same, or would not do it together."""
    if mesh is None or {device.process_index for device in mesh.devices.flat} != {*range(processes.count())}:
        raise SettingsError("mesh: wanted devices of all processes, as lthjax.mesh() has them; got others, or none.")
    made_by = environment()
    processes.check_alike(
        {
            "settings": dataclasses.asdict(settings),
            "data": split.fingerprint,
            "given": {**given.names(settings.negatives), "optimizer": given.optimizer_names(settings)[0]},
            "seeds": repr(seeds),
            "exchange": exchange,
            **{name: made_by[name] for name in ("versions", "git_commit")},
        }
    )


def _in_turn(search: Search, problems: list[Problem], paths: list[Path | None], *rest: Any) -> Iterator[Ticket]:
    """Seed after seed, once all folders are known to be theirs."""
    check_folders(problems, paths)
    for problem, path in zip(problems, paths, strict=True):
        yield from execute(search, [problem], [path], *rest)


def _tickets(dense: Ticket | Iterable[Ticket]) -> list[Ticket]:
    several = list(dense) if isinstance(dense, Iterable) and not isinstance(dense, str) else [dense]
    for ticket in several:
        if not isinstance(ticket, Ticket):
            raise SettingsError(
                f"dense: wanted tickets, such as lthjax.load_ticket('RUN/tickets/level_00'); got {ticket!r:.60}."
            )
    return several


def _folder(out: str | Path | None) -> Path | None:
    if out is not None and not isinstance(out, str | os.PathLike):
        raise SettingsError(f"out: wanted a path; got {out!r}.")
    return None if out is None else Path(out)


def _by_seed(finished: list[Ticket], tables: list[Ticket], seeds: list[int]) -> dict[int, Ticket]:
    """The dense model of each seed; a table that was trained elsewhere has none, and serves all."""
    if tables and len(finished) == 1:
        return dict.fromkeys(seeds, tables[0])
    by_seed = {ticket.settings.seed: ticket for ticket in finished}
    if tables and (len(tables) < len(finished) or not by_seed.keys() >= set(seeds)):
        raise SettingsError(
            f"dense: wanted one table for all seeds, or one, trained elsewhere too, for each of {seeds}; "
            f"got {len(finished)} models, {len(tables)} of them tables from elsewhere, of the seeds {sorted(by_seed)}."
        )
    unused, lacking = by_seed.keys() - set(seeds), set(seeds) - by_seed.keys()
    if unused and lacking:
        raise SettingsError(f"dense: wanted models of the seeds {sorted(lacking)} too; got {sorted(by_seed)}.")
    return by_seed


_MAY_DIFFER = {"preset", "data", "split", "seed", *names(PruningSettings)}  # a fingerprint tells data and split apart
# What a table that was trained elsewhere was not trained with.
_OF_TRAINING = {"init", "selection", *names(FitSettings), *names(StepSettings)}


def checked_dense(ticket: Ticket, problem: Problem) -> Ticket:
    """A dense model with its states restored.

    Raises:
      SettingsError: it is not the one that the run would train.
    """
    settings, elsewhere = problem.settings, "dense" in ticket.given
    may_differ = {*_MAY_DIFFER, "optimizer", *(_OF_TRAINING if elsewhere else ())}
    if _ends_alike(ticket, settings):
        may_differ |= {"epochs", "patience"}
    wanted = [(name, getattr(settings, name), getattr(ticket.settings, name)) for name in names(Settings)]
    wanted = [told for told in wanted if told[0] not in may_differ]
    if not elsewhere:
        wanted += [("optimizer", problem.optimizer_name, ticket.optimizer)]
        wanted += [("loss", problem.given.get("loss"), ticket.given.get("loss"))]
    wanted += [("backbone", problem.given.get("backbone"), ticket.given.get("backbone"))]
    for name, value, came in wanted:
        if value != came:
            raise SettingsError(f"dense: wanted a model with {name} {value}; got {came}.")
    if ticket.level or ticket.fingerprint != problem.split.fingerprint:
        raise SettingsError(f"dense: wanted level 0 on {problem.split.name}; got level {ticket.level}, or other data.")
    ticket, before = with_states(ticket, problem.shapes_as_saved(first_state(problem))), ticket.settings
    if elsewhere:
        return ticket
    lacks_origin = settings.rewind_epoch is not None and settings.rewind != before.rewind
    kept, wanted = _pruned_state(before), _pruned_state(settings)
    if lacks_origin or (wanted and (wanted != kept or ticket.final is None)):
        raise SettingsError(
            f"dense: wanted a model that kept what --rewind {settings.rewind} and --prune-from {settings.prune_from} "
            f"need; got one of --rewind {before.rewind} and --prune-from {before.prune_from}."
        )
    # Where the table of the best epoch is all that is pruned, a state that was kept for other settings must not be.
    return ticket if wanted else dataclasses.replace(ticket, final=None)


def _pruned_state(settings: Settings) -> str | None:
    """Which state a ticket keeps to be pruned, "last" or "best"; None where the table of the best epoch is enough."""
    return settings.prune_from if settings.prune_from == "last" or settings.rewind == "none" else None


def _ends_alike(ticket: Ticket, settings: Settings) -> bool:
    """Whether a model that was trained with shorter epochs or patience would be the same with these."""
    before = ticket.settings
    grows = all(extension.obstacle(name, before, settings, False) is None for name in ("epochs", "patience"))
    return grows and not extension.trains_on(ticket.best_epoch, ticket.epochs, settings)


def _seeds(seeds: int | Iterable[int], first: int) -> list[int]:
    try:
        return _whole_seeds(seeds, first)
    except TypeError:
        raise SettingsError(f"seeds: wanted a whole number, or several; got {seeds!r:.60}.") from None


def _whole_seeds(seeds: int | Iterable[int], first: int) -> list[int]:
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
