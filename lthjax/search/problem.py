"""From settings and data to a job: the graph, the tasks and the compiled program that every level of a run shares."""

import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax

from lthjax.data.split import Split
from lthjax.errors import DataError, SettingsError
from lthjax.evaluation import ranking as evaluate
from lthjax.evaluation.ranking import RankingMetrics, RankingTask
from lthjax.graph import graph
from lthjax.graph.graph import Graph
from lthjax.model import backbones, losses, tables
from lthjax.model.tables import xavier_normal_each, xavier_uniform, xavier_uniform_each
from lthjax.pruning import rules as prune
from lthjax.pruning.schedule import num_kept_at
from lthjax.settings import Settings
from lthjax.training import sampling
from lthjax.training.fingerprint import fingerprint_of
from lthjax.training.fit import Plan
from lthjax.training.step import Program, make_program

DRAWS = {
    "xavier": xavier_uniform,
    "xavier-each": xavier_uniform_each,
    "xavier-normal-each": xavier_normal_each,
    "normal-0.1": tables.normal(0.1),
    "normal-0.01": tables.normal(0.01),
    "normal-1": tables.normal(1.0),
}
SAMPLERS = {
    "interactions": sampling.every_interaction,
    "users": sampling.users_with_replacement,
    "distinct-users": sampling.distinct_users,
}
SCORES = {"magnitude": prune.magnitude, "random": prune.uniform}


@dataclasses.dataclass(frozen=True)
class Job:
    """What every level of a run shares."""

    settings: Settings
    split: Split
    optimizer_name: str
    program: Program
    graph: Graph
    selection: RankingTask  # the part whose Recall@20 chooses the best epoch
    valid: RankingTask | None  # None where the split has no validation part
    test: RankingTask
    plan: Plan

    def key(self, purpose: int, level: int = 0) -> jax.Array:
        """One key a purpose and level, from the seed.

        Purposes: 0 first values, 1 batches, 2 random pruning, 3 fresh values; 4 to 7 are those of `rivals`.
        """
        return jax.random.fold_in(jax.random.fold_in(jax.random.key(self.settings.seed), purpose), level)


def prepare(split: Split, settings: Settings, optimizer: optax.GradientTransformation | None = None) -> Job:
    """Build graph, tasks and program of a run."""
    num_users, num_items = split.num_users, split.num_items
    num_kept_at(settings, (num_users + num_items) * settings.dim)  # raises where a level would prune nothing
    _check_size(settings, num_users + num_items, len(split.train))
    test = test_task(split, settings)
    if len(split.valid) == 0 and settings.selection == "valid":
        raise DataError(
            f"{split.name}: wanted a validation part to choose the best epoch on; it is empty. "
            "--split cut takes one from the training part."
        )
    train_graph = graph.from_pairs(split.train, num_users, num_items)
    valid = evaluate.ranking_task(split.train, split.valid, num_users) if len(split.valid) else None
    program = _program(_of_program(settings), optimizer, (num_users, num_items), len(split.train))
    return Job(
        settings=settings,
        split=split,
        optimizer_name="adam" if optimizer is None else fingerprint_of(optimizer),
        program=program,
        graph=train_graph,
        selection=test if settings.selection == "test" else valid,
        valid=valid,
        test=test,
        plan=Plan(epochs=settings.epochs, patience=settings.patience, eval_every=settings.eval_every),
    )


def test_task(split: Split, settings: Settings) -> RankingTask:
    """Whom the test part is ranked for, and which items are left out then.

    Raises:
      DataError: it is empty.
    """
    if len(split.test) == 0:
        raise DataError(f"{split.name}: wanted interactions in the test part; it is empty.")
    seen = split.train if settings.test_mask == "train" else np.concatenate([split.train, split.valid])
    return evaluate.ranking_task(seen, split.test, split.num_users)


def measure(job: Job, program: Program, params: Any) -> tuple[RankingMetrics, dict[str, float]]:
    """A trained model on the test part, and its means there and, as `valid_...`, on the validation part."""
    final = jax.block_until_ready(program.embed(params, job.graph))
    measured = evaluate.evaluate(final, job.test, job.plan.ks)
    metrics = measured.means()
    if job.valid is not None:
        on_valid = evaluate.evaluate(final, job.valid, job.plan.ks).means()
        metrics |= {f"valid_{name}": value for name, value in on_valid.items()}
    return measured, metrics


def with_seed(job: Job, seed: int) -> Job:
    """The job with another seed; data, graph and program are shared."""
    return dataclasses.replace(job, settings=dataclasses.replace(job.settings, seed=seed))


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


_PROGRAM_SETTINGS = (
    *("model", "layers", "combine", "dim", "init"),
    *("sampler", "batch_size", "learning_rate", "l2", "l2_form", "l2_on"),
)


def _of_program(settings: Settings) -> Settings:
    """The settings that make the program; the others at their defaults, so that runs that differ there share one."""
    return Settings(**{name: getattr(settings, name) for name in _PROGRAM_SETTINGS})


@functools.lru_cache(maxsize=8)
def _program(
    settings: Settings,
    optimizer: optax.GradientTransformation | None,
    num_users_items: tuple[int, int],
    num_interactions: int,
) -> Program:
    """The program of these settings; kept, so that a second run or a retrained ticket does not compile again."""
    return make_program(
        table=tables.dense(DRAWS[settings.init]),
        optimizer=optax.adam(settings.learning_rate) if optimizer is None else optimizer,
        shape=(*num_users_items, settings.dim),
        num_interactions=num_interactions,
        **parts_of(settings),
    )


def parts_of(settings: Settings) -> dict[str, Any]:
    """Backbone, sampler and loss, as `train.make_program` takes them; methods with other tables share them."""
    backbone: Callable = backbones.mf
    if settings.model == "lightgcn":
        backbone = functools.partial(backbones.lightgcn, num_layers=settings.layers, combine=settings.combine)
    return {
        "backbone": backbone,
        "sampler": SAMPLERS[settings.sampler](settings.batch_size),
        "loss": functools.partial(losses.bpr, l2=settings.l2, l2_form=settings.l2_form, l2_on=settings.l2_on),
    }
