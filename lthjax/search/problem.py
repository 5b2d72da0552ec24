"""From settings and data to a problem: the graph, the tasks and the compiled program that all levels of a run share."""

import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from lthjax.data.split import Split
from lthjax.errors import DataError, SettingsError
from lthjax.evaluation import breakdown, ranking
from lthjax.evaluation.ranking import RankingMetrics, RankingTask
from lthjax.evaluation.verdict import UNJUDGED, Verdict, compare
from lthjax.graph import graph as graphs
from lthjax.graph.graph import Graph
from lthjax.model import backbones, losses, tables
from lthjax.model.backbones import Backbone
from lthjax.model.losses import Loss
from lthjax.pruning.rules import SCORES, Score
from lthjax.pruning.schedule import num_kept_at
from lthjax.runtime import forks
from lthjax.settings import ModelSettings, Settings, StepSettings, values
from lthjax.tickets.result import Result, per_user_of
from lthjax.tickets.ticket import Ticket
from lthjax.training import fingerprint
from lthjax.training.fit import Plan, Trainer
from lthjax.training.keys import Purpose, key_of
from lthjax.training.sampling import SAMPLERS
from lthjax.training.step import Parts, Program, make_program


class Given(NamedTuple):
    """What is given in code; None is what the settings name."""

    search: Any = None  # `Search` of `search.steps`
    score: Score | None = None
    backbone: Backbone | None = None
    loss: Loss | None = None
    optimizer: optax.GradientTransformation | None = None

    @property
    def optimizer_name(self) -> str:
        """The name "adam", or a fingerprint."""
        return "adam" if self.optimizer is None else fingerprint.of_optimizer(self.optimizer)

    def names(self) -> dict[str, str]:
        """Fingerprints of all but the optimizer, by what they are.

        Raises:
          SettingsError: one is no function.
        """
        functions = {kind: function for kind, function in self._asdict().items() if function is not None}
        functions.pop("optimizer", None)
        for kind, function in functions.items():
            if not callable(function):
                raise SettingsError(f"{kind}: wanted a function; got {function!r:.60}.")
        return {kind: getattr(fingerprint, f"of_{kind}")(function) for kind, function in functions.items()}


def _named() -> dict[str, Any]:
    """The functions that names in the settings stand for, by where they stand."""
    functions = {"losses.bpr": losses.bpr, "backbones.mf": backbones.mf, "backbones.lightgcn": backbones.lightgcn}
    for name, choices in {"SCORES": SCORES, "SAMPLERS": SAMPLERS, "DRAWS": tables.DRAWS}.items():
        functions |= {f"{name}[{choice!r}]": function for choice, function in choices.items()}
    return functions


_SHIPPED = _named()


def _check_named() -> None:
    """Refuse a named function that was replaced: settings, folders and kept programs say the same of both.

    Raises:
      SettingsError: it was.
    """
    replaced = [name for name, function in _named().items() if _SHIPPED.get(name) is not function]
    if replaced:
        raise SettingsError(
            f"{', '.join(replaced)}: wanted the function of lthjax that the settings name; got another in its place. "
            "Give yours as loss=..., backbone=... or score=..., so that tickets and folders tell it apart."
        )


@dataclasses.dataclass(frozen=True)
class Problem:
    """What every level of a run shares."""

    settings: Settings
    split: Split
    parts: Parts  # what the program is made of
    score: Score  # the entries with the lowest are pruned
    optimizer_name: str  # "adam", or the fingerprint of one that was given in code
    given: dict[str, str]  # fingerprints of other functions that were given in code
    program: Program
    graph: Graph  # training interactions
    valid: RankingTask | None  # None where the split has no validation part
    test: RankingTask
    plan: Plan

    @property
    def selection(self) -> RankingTask:
        """The part whose Recall@20 chooses the best epoch."""
        return self.test if self.settings.selection == "test" else self.valid

    @property
    def levels(self) -> range:
        """Levels after the dense one."""
        return range(1, self.settings.num_levels + 1)

    @property
    def trainer(self) -> Trainer:
        """What all tickets of the run are trained with."""
        return Trainer(self.program, self.graph, self.selection, self.plan)

    def key(self, purpose: Purpose, level: int = 0) -> jax.Array:
        """The random key of a purpose and level, from the run's seed."""
        return key_of(self.settings.seed, purpose, level)

    def with_seed(self, seed: int) -> "Problem":
        """The same with another seed; data, graph and program are shared."""
        return dataclasses.replace(self, settings=dataclasses.replace(self.settings, seed=seed))


def prepare(split: Split, settings: Settings, given: Given | None = None) -> Problem:
    """Build graph, tasks and program of a run.

    Args:
      split: the data.
      settings: of the run.
      given: functions in place of what the settings name.

    Raises:
      SettingsError: a level would prune nothing, the machine cannot hold or count it, or a named function of the
        package was replaced.
      DataError: a part of the split that is needed is empty.
      ForkError: JAX would hang in this process.
    """
    forks.check()
    _check_named()
    given = given or Given()
    optimizer_name, names = given.optimizer_name, given.names()  # raises where a function cannot be used
    num_users, num_items = split.num_users, split.num_items
    num_kept_at(settings, (num_users + num_items) * settings.dim)  # raises where a level would prune nothing
    _check_size(settings, num_users + num_items, len(split.train))
    test = test_task(split, settings)
    if len(split.valid) == 0 and settings.selection == "valid":
        raise DataError(
            f"{split.name}: wanted a validation part to choose the best epoch on; it is empty. "
            "--split cut takes one from the training part."
        )
    made = values(settings, ModelSettings) | values(settings, StepSettings)  # the others may differ: one program
    parts, program = _program(
        Settings(**made), given.backbone, given.loss, given.optimizer, (num_users, num_items, len(split.train))
    )
    return Problem(
        settings=settings,
        split=split,
        parts=parts,
        score=given.score or _named_score(settings, split),
        optimizer_name=optimizer_name,
        given=names,
        program=program,
        graph=graphs.from_pairs(split.train, num_users, num_items),
        valid=ranking.ranking_task(split.train, split.valid, num_users) if len(split.valid) else None,
        test=test,
        plan=Plan(epochs=settings.epochs, patience=settings.patience, eval_every=settings.eval_every),
    )


def _named_score(settings: Settings, split: Split) -> Score:
    score = SCORES[settings.prune_by]
    if settings.prune_by == "random-by-degree":
        score = functools.partial(score, breakdown.degrees(split.train, split.num_users, split.num_items))
    return score


def test_task(split: Split, settings: Settings) -> RankingTask:
    """Whom the test part is ranked for, and which items are left out then.

    Raises:
      DataError: it is empty.
    """
    if len(split.test) == 0:
        raise DataError(f"{split.name}: wanted interactions in the test part; it is empty.")
    seen = split.train if settings.test_mask == "train" else np.concatenate([split.train, split.valid])
    return ranking.ranking_task(seen, split.test, split.num_users)


class Measured(NamedTuple):
    """A trained model on the test part; the fields of tickets and results that follow from it."""

    metrics: dict[str, float]  # means there and, as `valid_...`, on the validation part
    users: np.ndarray  # [U] users with test items
    per_user: dict[str, np.ndarray]  # name -> [U]
    tied_users: int  # of whose first K + 1 items two score alike
    verdict: Verdict


def measure(problem: Problem, program: Program, params: Any, best_epoch: int, dense: Ticket | None) -> Measured:
    """Rank the test and the validation part, and judge the result against the dense model of the same seed.

    Args:
      problem: with both parts.
      program: of the model.
      params: its trained parameters.
      best_epoch: when they stood.
      dense: the dense model; None where there is none to compare with.
    """
    final = jax.block_until_ready(program.embed(params, problem.graph))
    return measure_ranking(problem, functools.partial(ranking.evaluate, final), best_epoch, dense)


def measure_ranking(
    problem: Problem,
    rank: Callable[[RankingTask, tuple[int, ...]], RankingMetrics],
    best_epoch: int,
    dense: Ticket | Result | None,
) -> Measured:
    """The same of any model.

    Args:
      problem: with both parts.
      rank: (task, list lengths) -> how good the model ranks for the task.
      best_epoch: of the model, 0 where it was not trained.
      dense: the dense model, or its result; None where there is none to compare with.
    """
    measured = rank(problem.test, problem.plan.ks)
    metrics = measured.means()
    if problem.valid is not None:
        on_valid = rank(problem.valid, problem.plan.ks).means()
        metrics |= {f"valid_{name}": value for name, value in on_valid.items()}
    per_user, main = per_user_of(measured), f"recall@{problem.plan.ks[0]}"
    verdict = UNJUDGED
    if dense is not None:
        verdict = compare(dense.per_user[main], per_user[main], dense.best_epoch, best_epoch)
    return Measured(metrics, measured.users, per_user, int(measured.tied[problem.plan.ks[0]].sum()), verdict)


def backbone_of(settings: Settings) -> Backbone:
    """The backbone that the settings name."""
    return backbones.named(settings.model, settings.layers, settings.combine)


def backbone_of_ticket(ticket: Ticket, backbone: Backbone | None = None) -> Backbone:
    """The backbone that a ticket was found with.

    Args:
      ticket: of `find_tickets`.
      backbone: the one that was given then in code, if any.

    Raises:
      SettingsError: it is wanted and not given, or another is given, or a named one was replaced.
    """
    _check_named()
    wanted = ticket.given.get("backbone")
    came = None if backbone is None else fingerprint.of_backbone(backbone)
    if wanted != came:
        raise SettingsError(
            f"backbone: wanted the one that the ticket was found with ({wanted or ticket.settings.model}), as "
            f"backbone=...; got {came or 'none'}."
        )
    return backbone or backbone_of(ticket.settings)


@functools.lru_cache(maxsize=8)
def _program(
    settings: Settings,
    backbone: Backbone | None,
    loss: Loss | None,
    optimizer: optax.GradientTransformation | None,
    sizes: tuple[int, int, int],
) -> tuple[Parts, Program]:
    """The program of these settings; kept, so that a second run or a retrained ticket does not compile again."""
    num_users, num_items, num_interactions = sizes
    parts = Parts(
        table=tables.dense(tables.DRAWS[settings.init]),
        backbone=backbone or backbone_of(settings),
        loss=loss or functools.partial(losses.bpr, l2=settings.l2, l2_form=settings.l2_form, l2_on=settings.l2_on),
        sampler=SAMPLERS[settings.sampler](settings.batch_size),
        optimizer=optimizer or optax.adam(settings.learning_rate),
    )
    return parts, make_program(parts, (num_users, num_items, settings.dim), num_interactions)


def _check_size(settings: Settings, num_rows: int, num_train: int) -> None:
    """Refuse what cannot be: more steps than a counter holds, or a table that the machine cannot train."""
    steps = settings.epochs * (num_train // settings.batch_size + 1)
    if steps >= 2**31:
        raise SettingsError(f"--epochs: wanted fewer than 2^31 steps; got {settings.epochs:,} epochs, {steps:,} steps.")
    if jax.default_backend() != "cpu":
        return
    # Weights, gradients, updates, two moments, and once more what the best epoch keeps.
    needed = 10 * 4 * num_rows * settings.dim
    present = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > present:
        raise SettingsError(
            f"--dim: wanted a table that can be trained in this machine's {present / 2**30:.0f} GiB of memory; "
            f"got {settings.dim:,} dimensions for {num_rows:,} rows, about {needed / 2**30:,.0f} GiB."
        )
