"""The methods that tickets are measured against, each as records beside theirs: PEP, LCM and MagPrune.

    for record in rivals.lcm(job, parts, dense, [0.5, 0.75]):
        print(record.row)

All use the job's data, graph, plan and evaluator, and the training step that tickets use; `parts` is what else makes a
program: backbone, sampler and loss, as `train.make_program` takes them.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import optax

from lthjax import presets
from lthjax.baselines import lcm as linear_maps
from lthjax.baselines import magprune
from lthjax.baselines import pep as thresholds
from lthjax.evaluation import verdict
from lthjax.pruning import masks
from lthjax.pruning import schedule as counts
from lthjax.search import problem as jobs
from lthjax.search.problem import Job
from lthjax.tickets import ticket as tickets
from lthjax.tickets.ticket import Record, Ticket
from lthjax.training.fit import Evaluation, FitState, begin, fit
from lthjax.training.step import Program, make_program

_SEARCH, _RETRAIN, _MAPS, _TRAIN_MAPS = 4, 5, 6, 7  # purposes of `Job.key`; it takes 0 to 3 itself

Report = Callable[[str, float, float, Evaluation | None], None]  # (what trains, epoch, loss, evaluation, if any)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search:
    """How PEP looks for its masks; by default as in `wangyf6891/LTH-MRS:train_pep.py`.

    Those want the many steps of large data: on small ones the threshold stays behind the weights, and the pull takes
    sigmoid(s) to 1/2 at most. On MovieLens latest-small (MF, F = 32) thresholds "row" from -10 with pull 1e-2 and
    learning rate 1e-2 reach 75% within 150 epochs. A higher start gets there sooner, with worse masks (Recall@20 at 50%
    from -5, -8, -10, -15: .124, .165, .176, .180): entries are cut before they had time to grow. Where weights grow
    beyond 1/2, as with large learning rates, more L2 while it searches keeps them within reach.
    """

    granularity: thresholds.Granularity = "global"
    start: float = -10.0
    pull: float | None = None  # None = 0.1 / batch size
    learning_rate: float = 1e-3  # of Adam
    l2: float | None = None  # of the loss while it searches, which must take it; None = as the dense model has it
    epochs: int = 2000
    check_every: int = 600  # steps


def pep(
    job: Job,
    parts: Mapping[str, Any],
    dense: Ticket,
    targets: Sequence[float],
    *,
    search: Search | None = None,
    report: Report = lambda name, epoch, loss, evaluation: None,
) -> Iterator[Record]:
    """PEP at each target: masks found by thresholds, then the first values under them trained like a ticket's.

    The record's seconds hold the search up to its target. Targets come in rising order.

    Args:
      job: of the dense model.
      parts: backbone, sampler, loss.
      dense: level 0 of the same job, whose first values PEP takes too.
      targets: sparsities.
      search: thresholds and how they train.
      report: called while it trains.

    Raises:
      TrainingError: a target is not reached; the records of lower ones have been yielded by then.
    """
    search = search or Search()
    pull = 0.1 / job.settings.batch_size if search.pull is None else search.pull
    program = thresholds.make_program(
        draw=lambda key, num_users, num_items, dim: dense.start,
        granularity=search.granularity,
        start=search.start,
        pull=pull,
        optimizer=optax.adam(search.learning_rate),
        shape=(job.split.num_users, job.split.num_items, job.settings.dim),
        num_interactions=len(job.split.train),
        **(parts | {"loss": parts["loss"] if search.l2 is None else functools.partial(parts["loss"], l2=search.l2)}),
    )
    params = program.init(job.key(_SEARCH))
    found = thresholds.search(
        program,
        program.start(params, masks.all_kept(params)),
        targets,
        job.graph,
        job.key(_SEARCH),
        epochs=search.epochs,
        check_every=search.check_every,
        report=lambda epoch, loss, sparsity: report("PEP, search", epoch, loss, None),
    )
    searched, clock = 0.0, time.monotonic()
    for number, at in enumerate(found):
        searched += time.monotonic() - clock
        fitting = _train(job, job.program, dense.start, at.masks, (_RETRAIN, number), "PEP", report)
        fitting = fitting.replace(seconds=fitting.seconds + searched)
        num_kept = masks.num_kept(at.masks)
        yield _record(job, job.program, "PEP", fitting.best.params, num_kept, at.sparsity, fitting, dense)
        clock = time.monotonic()


def lcm(
    job: Job,
    parts: Mapping[str, Any],
    dense: Ticket,
    sparsities: Sequence[float],
    *,
    optimizer: optax.GradientTransformation | None = None,
    report: Report = lambda name, epoch, loss, evaluation: None,
) -> Iterator[Record]:
    """LCM at each sparsity: two linear maps of the dense model's trained table to fewer dimensions.

    The record's `num_kept` is the deployed table's, its sparsity against the dense one's.

    Args:
      job: of the dense model, the teacher.
      parts: backbone, sampler, loss.
      dense: level 0 of the same job.
      sparsities: shares of the dimensions that fall.
      optimizer: of the maps; by default the job's Adam.
      report: called while it trains.
    """
    optimizer = linear_maps.only_maps(optimizer or optax.adam(job.settings.learning_rate))
    for number, sparsity in enumerate(sparsities):
        count = linear_maps.student_dim(job.settings.dim, sparsity)
        program = make_program(
            table=linear_maps.table(dense.trained),
            optimizer=optimizer,
            shape=(job.split.num_users, job.split.num_items, count.kept),
            num_interactions=len(job.split.train),
            **parts,
        )
        params = program.init(job.key(_MAPS, number))
        fitting = _train(job, program, params, masks.all_kept(params), (_TRAIN_MAPS, number), "LCM", report)
        num_kept, note = linear_maps.sizes(params).deployed, count.note
        yield _record(job, program, "LCM", fitting.best.params, num_kept, count.sparsity, fitting, dense, note)


def magnitude_pruning(job: Job, dense: Ticket, sparsities: Sequence[float]) -> Iterator[Record]:
    """MagPrune at each sparsity: the dense model without its smallest weights, at the dense model's epoch."""
    embed = functools.partial(_embed, job)
    for sparsity in sparsities:
        notes = [counts.at_sparsity(sparsity, part.size).note for part in dense.trained]
        clock = time.monotonic()
        pruned = magprune.best(dense.trained, sparsity, embed, job.selection, job.plan.ks)
        fitting = begin(job.program.start(pruned.params, pruned.masks), dense.best_epoch)
        fitting = fitting.replace(seconds=time.monotonic() - clock)
        num_kept, size = masks.num_kept(pruned.masks), masks.num_entries(pruned.masks)
        note, reached = "; ".join(filter(None, notes)), 1 - num_kept / size
        yield _record(job, job.program, "MagPrune", pruned.params, num_kept, reached, fitting, dense, note)


def _embed(job: Job, layer0: Any) -> Any:
    return job.program.embed(layer0, job.graph)


def _train(
    job: Job, program: Program, params: Any, kept: Any, purpose: tuple[int, int], name: str, report: Report
) -> FitState:
    """As a ticket is trained: from `params` under masks, until patience or the epochs are used up."""
    return fit(
        program,
        begin(program.start(params, kept), 0),
        kept,
        job.graph,
        job.selection,
        job.key(*purpose),
        job.plan,
        name=name,
        report=lambda epoch, loss, evaluation: report(name, epoch, loss, evaluation),
    )


def _record(
    job: Job,
    program: Program,
    method: str,
    params: Any,
    num_kept: int,
    sparsity: float,
    fitting: FitState,
    dense: Ticket,
    note: str = "",
) -> Record:
    """Measured on the test part, and judged against the dense model, as a ticket is; the row has two columns more."""
    measured, metrics = jobs.measure(job, program, params)
    users = tickets.per_user(measured)
    main, best_epoch = f"recall@{job.plan.ks[0]}", int(fitting.best_epoch)
    judged = verdict.compare(dense.per_user[main], users[main], dense.best_epoch, best_epoch)
    row = {
        "method": method,
        "level": "",
        "sparsity": sparsity,
        "num_kept": num_kept,
        "valid_recall@20": "",
        **metrics,
        "best_epoch": best_epoch,
        "epochs": int(fitting.evaluated_epoch),
        "seconds": float(fitting.seconds),
        "verdict": judged.name,
        "difference": judged.difference,
        "interval_low": judged.low,
        "interval_high": judged.high,
        "selection": job.settings.selection,
        "settings": presets.title(job.settings),
        "note": note,
    }
    return Record(row, sparsity, best_epoch, metrics, users)
