"""From settings and data to a job: the graph, the tasks and the compiled program that every level of a run shares."""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lthjax import backbones, embeddings, evaluate, graph, losses, prune, sampling, tables
from lthjax import data as loading
from lthjax import splits as splitting
from lthjax.errors import DataError, SettingsError
from lthjax.evaluate import RankingMetrics, RankingTask
from lthjax.fitting import Plan
from lthjax.graph import Graph
from lthjax.settings import Settings, num_kept_at
from lthjax.splits import Split
from lthjax.train import Program, make_program

DRAWS = {
    "xavier": embeddings.xavier_uniform,
    "xavier-each": embeddings.xavier_uniform_each,
    "xavier-normal-each": embeddings.xavier_normal_each,
    "normal-0.1": embeddings.normal(0.1),
    "normal-0.01": embeddings.normal(0.01),
    "normal-1": embeddings.normal(1.0),
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


def load_split(data: Any, settings: Settings) -> Split:
    """Load and split the data that the settings name (or `data`, in any form that `find_tickets` takes)."""
    if isinstance(data, Split):
        return data
    interactions = loading.load(
        settings.data if data is None else data,
        format=settings.format,
        columns=settings.columns,
        min_rating=settings.min_rating,
        items_after_users=settings.items_after_users,
    )
    return splitting.split(interactions, method=settings.split, seed=settings.split_seed)


def settle(data: Any, settings: Settings, changes: dict[str, Any]) -> tuple[Settings, Split]:
    """The settings with their changes, naming the data, and the split."""
    if isinstance(data, str | Path):
        data, changes = None, changes | {"data": str(data)}
    elif data is not None and not isinstance(data, Split):
        changes = changes | {"data": f"<{type(data).__name__}>"}
    settings = dataclasses.replace(settings, **changes)
    if data is None and settings.data.startswith("<"):
        raise DataError(
            f"wanted the data, as data=...: this ticket was found on a {settings.data} that was given in code."
        )
    return settings, load_split(data, settings)


def split_of(data: Any, settings: Settings, fingerprint: str, whose: str) -> Split:
    """The split that a run or ticket was made with.

    Args:
      data: as in `find_tickets`, or None for what the settings name.
      settings: of the run or ticket.
      fingerprint: what the split's must be.
      whose: the run or ticket, for the error.

    Raises:
      DataError: the data are not at hand, or others.
    """
    _, split = settle(data, settings, {})
    if split.fingerprint != fingerprint:
        raise DataError(
            f"{split.name}: wanted the data and the split of {whose}, with fingerprint {fingerprint}; "
            f"got {split.fingerprint}."
        )
    return split


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


def fingerprint_of(optimizer: optax.GradientTransformation) -> str:
    """A name for an optimizer given in code: what it does to a small table, early and late, gradients small and large.

    Functions cannot be compared, but a run folder must not go on with another optimizer than it was begun with. The
    updates are rounded to five digits, so that another version or device gives the same optimizer the same name. Two
    optimizers that differ at none of these steps and sizes have one name.
    """
    params = embeddings.Embeddings(jnp.linspace(-1, 1, 8).reshape(2, 4), jnp.linspace(-0.9, 1.1, 12).reshape(3, 4))
    optimizer = optax.with_extra_args_support(optimizer)
    update = jax.jit(optimizer.update)
    seen = []
    for step in (0, 10, 100, 1_000, 10_000, 100_000):
        state = jax.tree.map(lambda x, step=step: _at_step(x, step), optimizer.init(params))
        for scale in (1e-3, 1.0, 1e3):
            gradients = jax.tree.map(lambda p, scale=scale: scale * jnp.cos(3 * p + 1), params)
            updates, state = update(gradients, state, params)
            seen += [f"{x:.4e}" for leaf in jax.tree.leaves(updates) for x in np.ravel(leaf).tolist()]
    return "given, " + hashlib.sha256(" ".join(seen).encode()).hexdigest()[:12]


def _at_step(leaf: Any, step: int) -> Any:
    """Counters of an optimizer's state, set to a step; everything else as it is."""
    is_counter = jnp.shape(leaf) == () and jnp.issubdtype(leaf.dtype, jnp.integer)
    return jnp.full((), step, leaf.dtype) if is_counter else leaf
