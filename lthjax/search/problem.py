"""From settings and data to a problem: the graph, the tasks and the compiled program that all levels of a run share."""

import dataclasses
import functools
import os
import sys
from typing import Any

import jax
import optax

from lthjax.data.share import Share
from lthjax.data.split import Split
from lthjax.embeddings import Embeddings
from lthjax.errors import DataError, SettingsError
from lthjax.evaluation import ranking
from lthjax.evaluation.ranking import RankingTask
from lthjax.graph.graph import Graph
from lthjax.graph.sharded import ShardedGraph
from lthjax.graph.training_graph import sharded_graph, training_graph
from lthjax.model import tables
from lthjax.model.backbones import Backbone
from lthjax.model.losses import Loss
from lthjax.pruning import masks as masking
from lthjax.pruning.masks import Masks
from lthjax.pruning.rules import BLIND, SCORES, Score
from lthjax.pruning.schedule import num_kept_at
from lthjax.runtime import forks
from lthjax.search.given import Given
from lthjax.search.named import backbone_of, check_named, loss_of
from lthjax.search.tasks import check_lengths, task_of, test_task
from lthjax.settings import ModelSettings, Settings, StepSettings, values
from lthjax.sharding import draws
from lthjax.sharding import exchange as exchanges
from lthjax.sharding import layout as layouts
from lthjax.sharding.exchange import Exchange
from lthjax.sharding.layout import Layout
from lthjax.tickets.ticket import Ticket, with_tables
from lthjax.training.fit import Plan, Trainer
from lthjax.training.keys import Purpose, key_of
from lthjax.training.optimizer import OPTIMIZERS
from lthjax.training.sampling import SAMPLERS
from lthjax.training.step import Parts, Program, make_program


@dataclasses.dataclass(frozen=True)
class Problem:
    """What every level of a run shares."""

    settings: Settings
    split: Split | Share
    parts: Parts  # what the program is made of
    score: Score  # the entries with the lowest are pruned
    optimizer_name: str  # of the settings, or the fingerprint of one that was given in code
    optimizer_label: str  # what one that was given in code is called in tables
    given: dict[str, str]  # fingerprints of other functions that were given in code
    program: Program
    graph: Graph  # training interactions
    valid: RankingTask | None  # None where the split has no validation part
    test: RankingTask
    plan: Plan
    layout: Layout | None = None  # of tables on several devices
    table: Any = None  # trained elsewhere, that the run starts from; None where it draws first values

    @property
    def selection(self) -> RankingTask:
        """The part whose `settings.main_metric` chooses the best epoch, and among models."""
        return self.test if self.settings.selection == "test" else self.valid

    @functools.cached_property
    def sample(self) -> RankingTask:
        """The users of that part who are ranked while a model trains: all, or as many as `evaluate_users` says."""
        settings = self.settings
        return ranking.sample_of(self.selection, settings.evaluate_users or sys.maxsize, settings.split_seed)

    @property
    def selection_name(self) -> str:
        """How values of that part are called: "valid", "test", or, of some users only, "valid_sample"."""
        return self.settings.selection + ("" if self.sample is self.selection else "_sample")

    @property
    def exchange(self) -> Exchange:
        """How the run gets the rows of other devices; one device computes as a gather does, to the bit."""
        return "gather" if self.layout is None else self.layout.exchange

    @property
    def levels(self) -> range:
        """Levels after the dense one."""
        return range(1, self.settings.num_levels + 1)

    @property
    def trainer(self) -> Trainer:
        """What all tickets of the run are trained with."""
        return Trainer(self.program, self.graph, self.sample, self.plan, self.layout)

    @property
    def num_entries(self) -> int:
        """(M + N) F, entries of the tables."""
        return (self.split.num_users + self.split.num_items) * self.settings.dim

    def sparsity(self, masks: Masks) -> float:
        """Share of entries that masks prune, wherever they lie."""
        return 1.0 - masking.num_kept(masks) / self.num_entries

    def all_kept(self, params: Any) -> Masks:
        """Masks of the dense model, where its parameters lie."""
        return masking.all_kept(params) if self.layout is None else self.layout.all_kept(self.settings.dim)

    def placed(self, tree: Any) -> Any:
        """What tickets hold, where the run computes: rows go to their devices, where there are several."""
        return tree if self.layout is None else self.layout.place(tree)

    def placed_like(self, tree: Any, like: Any) -> Any:
        """The same, but for leaves that are NumPy arrays in `like`, which stay."""
        return tree if self.layout is None else self.layout.place_like(tree, like)

    def as_saved(self, tree: Any) -> Any:
        """What the run computed, as files have it: rows as they are dealt out, where there are several devices."""
        return tree if self.layout is None else self.layout.tables(tree)

    def shapes_as_saved(self, tree: Any) -> Any:
        """The shapes of that; the pytree itself on one device."""
        return tree if self.layout is None else self.layout.shapes(tree)

    def off_devices(self, ticket: Ticket) -> Ticket:
        """A ticket as files have it, as it is given to people and kept for later levels."""
        return ticket if self.layout is None else with_tables(ticket, self.layout.held)

    def key(self, purpose: Purpose, level: int = 0) -> jax.Array:
        """The random key of a purpose and level, from the run's seed."""
        return self.placed(key_of(self.settings.seed, purpose, level))

    def with_seed(self, seed: int) -> "Problem":
        """The same with another seed; data, graph and program are shared."""
        return dataclasses.replace(self, settings=dataclasses.replace(self.settings, seed=seed))

    def with_table(self, dense: Ticket) -> "Problem":
        """The same, pruning the table of a dense model that was trained elsewhere (`from_dense`)."""
        return dataclasses.replace(self, table=dense.trained, given=self.given | {"dense": dense.given["dense"]})


def prepare(
    split: Split | Share,
    settings: Settings,
    given: Given | None = None,
    mesh: jax.sharding.Mesh | None = None,
    exchange: Exchange = "gather",
) -> Problem:
    """Build graph, tasks and program of a run.

    Args:
      split: the data; or, of several processes, what this one needs of them.
      settings: of the run.
      given: functions in place of what the settings name.
      mesh: of several devices that tables are dealt out to; None for one.
      exchange: how LightGCN gets the rows of other devices, see `sharding.exchange`.

    Raises:
      SettingsError: a level would prune nothing, the machine cannot hold or count it, a named function of the package
        was replaced, or a ring would exchange nothing.
      DataError: a part of the split that is needed is empty.
      ForkError: JAX would hang in this process.
    """
    forks.check()
    check_named()
    given = given or Given()
    optimizer_name, optimizer_label = given.optimizer_names(settings)  # raises where a function cannot be used
    names = given.names(settings.negatives)
    num_users, num_items = split.num_users, split.num_items
    num_kept_at(settings, (num_users + num_items) * settings.dim)  # raises where a level would prune nothing
    _check_size(settings, num_users + num_items, split.num_train)
    check_lengths(settings.lengths, num_items)
    exchanges.check(exchange, 1 if mesh is None else mesh.devices.size, multiplies(settings, given))
    layout = None if mesh is None else layouts.make(mesh, num_users, num_items, exchange)
    test = test_task(split, settings, settings.metric_names, layout)
    if len(split.valid) == 0 and settings.selection == "valid":
        raise DataError(
            f"{split.name}: wanted a validation part to choose the best epoch on; it is empty. "
            "--split cut takes one from the training part."
        )
    made = values(settings, ModelSettings) | values(settings, StepSettings)  # the others may differ: one program
    if layout is not None:
        draws.check_generator()
    parts, program = _program(
        Settings(**made), given.backbone, given.loss, given.optimizer, (num_users, num_items, split.num_train), layout
    )
    valid = task_of(split, None, split.valid, settings.metric_names, layout) if len(split.valid) else None
    return Problem(
        settings=settings,
        split=split,
        parts=parts,
        score=given.score or _named_score(settings, split, layout),
        optimizer_name=optimizer_name,
        optimizer_label=optimizer_label,
        given=names,
        program=program,
        graph=_graph(split, settings, layout, multiplies(settings, given)),
        valid=valid,
        test=test,
        layout=layout,
        plan=Plan(
            epochs=settings.epochs,
            patience=settings.patience,
            eval_every=settings.eval_every,
            ks=settings.lengths,
            metrics=settings.metric_names,
        ),
    )


def multiplies(settings: Settings, given: Given) -> bool:
    """Whether the backbone may take products of the graph: one that is given in code may."""
    return settings.model != "mf" or given.backbone is not None


def _graph(split: Split | Share, settings: Settings, layout: Layout | None, multiplies: bool) -> Graph | ShardedGraph:
    if layout is None:
        return training_graph(split, settings)
    with jax.default_device(jax.local_devices(backend="cpu")[0]):  # what is not cut yet is in the host's memory
        return sharded_graph(split, settings, layout, multiplies)


def _named_score(settings: Settings, split: Split | Share, layout: Layout | None) -> Score:
    score = SCORES[settings.prune_by]
    if settings.prune_by == "random-by-degree":
        score = functools.partial(score, Embeddings(*split.degrees))
    return functools.partial(score, layout=layout) if layout and settings.prune_by in BLIND else score


@functools.lru_cache(maxsize=8)
def _program(
    settings: Settings,
    backbone: Backbone | None,
    loss: Loss | None,
    optimizer: optax.GradientTransformation | None,
    sizes: tuple[int, int, int],
    layout: Layout | None,
) -> tuple[Parts, Program]:
    """The program of these settings; kept, so that a second run or a retrained ticket does not compile again."""
    num_users, num_items, num_interactions = sizes
    parts = Parts(
        table=tables.dense(tables.DRAWS[settings.init], layout),
        backbone=backbone or backbone_of(settings),
        loss=loss or loss_of(settings),
        sampler=SAMPLERS[settings.sampler](settings.batch_size, settings.negatives),
        optimizer=optimizer or OPTIMIZERS[settings.optimizer](settings.learning_rate),
    )
    return parts, make_program(parts, (num_users, num_items, settings.dim), num_interactions, layout)


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
    rows = 3 * 4 * settings.batch_size * settings.negatives * settings.dim  # gathered, their gradients, a product
    if settings.negatives > 1 and rows > present:
        raise SettingsError(
            f"--negatives: wanted rows of a batch that fit this machine's {present / 2**30:.0f} GiB of memory; got "
            f"{settings.negatives:,} for each of {settings.batch_size:,} positives, about {rows / 2**30:,.0f} GiB."
        )
    if needed > present:
        raise SettingsError(
            f"--dim: wanted a table that can be trained in this machine's {present / 2**30:.0f} GiB of memory; "
            f"got {settings.dim:,} dimensions for {num_rows:,} rows, about {needed / 2**30:,.0f} GiB."
        )
