"""The methods that tickets are measured against, each as results beside theirs: PEP, LCM and MagPrune.

    for result in records.lcm(problem, dense, [0.5, 0.75]):
        print(result.row())

All use the problem's data, graph, plan and evaluator, and the training step that tickets use.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import optax

from lthjax.baselines import lcm as linear_maps
from lthjax.baselines import magprune
from lthjax.baselines import pep as thresholds
from lthjax.errors import SettingsError
from lthjax.model.tables import Draw
from lthjax.pruning import masks as masking
from lthjax.pruning.schedule import at_sparsity
from lthjax.search.measuring import measure
from lthjax.search.problem import Problem
from lthjax.tickets.result import Result, in_words, is_cut_short
from lthjax.tickets.ticket import Ticket
from lthjax.training.fit import Evaluation, FitState, Hooks, Member, begin, fit
from lthjax.training.keys import Purpose
from lthjax.training.optimizer import OPTIMIZERS
from lthjax.training.step import Program, make_program

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
    problem: Problem,
    dense: Ticket,
    targets: Sequence[float],
    *,
    search: Search | None = None,
    report: Report = lambda name, epoch, loss, evaluation: None,
) -> Iterator[Result]:
    """PEP at each target: masks found by thresholds, then the first values under them trained like a ticket's.

    The result's seconds hold the search up to its target. Targets come in rising order.

    Args:
      problem: of the dense model.
      dense: level 0 of the same problem, whose first values PEP takes too.
      targets: sparsities.
      search: thresholds and how they train.
      report: called while it trains.

    Raises:
      TrainingError: a target is not reached; the results of lower ones have been yielded by then.
      SettingsError: the dense model is a table that was trained elsewhere, whose first values are not known.
    """
    if "dense" in dense.given:
        raise SettingsError("PEP: wanted a dense model with first values; got a table that was trained elsewhere.")
    search = search or Search()
    program = search_program(problem, search, lambda key, num_users, num_items, dim: dense.start)
    key = problem.key(Purpose.PEP_SEARCH)
    params = program.init(key)
    reached = thresholds.search(
        program,
        program.start(params, masking.all_kept(params)),
        targets,
        problem.graph,
        key,
        thresholds.Looks(
            search.epochs,
            search.check_every,
            lambda epoch, loss, sparsity: report("PEP, search", epoch, loss, None),
        ),
    )
    seconds, clock = 0.0, time.monotonic()
    for target, at in zip(targets, reached, strict=True):
        seconds += time.monotonic() - clock
        key = problem.key(Purpose.PEP_BATCHES, _number(target))
        start = _begin(problem.program, dense.start, at.masks)
        state = _train(problem, problem.program, Member("PEP", at.masks, key, start), report)
        state = state.replace(seconds=state.seconds + seconds)
        about = {"method": "PEP", "num_kept": masking.num_kept(at.masks), "sparsity": at.sparsity}
        yield _result(problem, problem.program, state, dense, about)
        clock = time.monotonic()


def search_program(problem: Problem, search: Search, draw: Draw) -> Program:
    """The program of PEP's search, whose first values are drawn by `draw`."""
    pull = 0.1 / problem.settings.batch_size if search.pull is None else search.pull
    parts = problem.parts._replace(optimizer=optax.adam(search.learning_rate))
    if search.l2 is not None:
        parts = parts._replace(loss=functools.partial(parts.loss, l2=search.l2))
    table = thresholds.table(draw, search.granularity, search.start)
    split = problem.split
    shape = (split.num_users, split.num_items, problem.settings.dim)
    return make_program(thresholds.search_parts(parts, table, pull), shape, len(split.train))


def lcm(
    problem: Problem,
    dense: Ticket,
    sparsities: Sequence[float],
    *,
    optimizer: optax.GradientTransformation | None = None,
    report: Report = lambda name, epoch, loss, evaluation: None,
) -> Iterator[Result]:
    """LCM at each sparsity: two linear maps of the dense model's trained table to fewer dimensions.

    The result's `num_kept` is the deployed table's, its sparsity against the dense one's.

    Args:
      problem: of the dense model, the teacher.
      dense: level 0 of the same problem.
      sparsities: shares of the dimensions that are dropped.
      optimizer: of the maps; by default the one that the problem's settings name.
      report: called while it trains.
    """
    split = problem.split
    optimizer = linear_maps.only_maps(
        optimizer or OPTIMIZERS[problem.settings.optimizer](problem.settings.learning_rate)
    )
    parts = problem.parts._replace(table=linear_maps.table(dense.trained), optimizer=optimizer)
    for sparsity in sparsities:
        number, count = _number(sparsity), linear_maps.student_dim(problem.settings.dim, sparsity)
        program = make_program(parts, (split.num_users, split.num_items, count.kept), len(split.train))
        params = program.init(problem.key(Purpose.LCM_FIRST_VALUES, number))
        masks, key = masking.all_kept(params), problem.key(Purpose.LCM_BATCHES, number)
        state = _train(problem, program, Member("LCM", masks, key, _begin(program, params, masks)), report)
        about = {"method": "LCM", "num_kept": linear_maps.sizes(params).deployed, "sparsity": count.sparsity}
        yield _result(problem, program, state, dense, about | {"note": count.note})


def magnitude_pruning(problem: Problem, dense: Ticket, sparsities: Sequence[float]) -> Iterator[Result]:
    """MagPrune at each sparsity: the dense model without its smallest weights, at the dense model's epoch.

    Args:
      problem: of the dense model.
      dense: level 0 of the same problem.
      sparsities: shares of the entries that are pruned.
    """
    program, plan = problem.program, problem.plan

    def embed(layer0: Any) -> Any:
        return program.embed(layer0, problem.graph)

    for sparsity in sparsities:
        notes = [at_sparsity(sparsity, part.size).note for part in dense.trained]
        clock = time.monotonic()
        pruned = magprune.best(dense.trained, sparsity, embed, problem.selection, plan.ks, plan.metrics)
        state = begin(program.start(pruned.params, pruned.masks), dense.best_epoch)
        state = state.replace(seconds=time.monotonic() - clock)
        about = {"method": "MagPrune", "num_kept": masking.num_kept(pruned.masks)}
        about |= {"sparsity": masking.sparsity(pruned.masks), "note": "; ".join(filter(None, notes))}
        yield _result(problem, program, state, dense, about)


def _number(sparsity: float) -> int:
    """Of its keys: the same whichever other sparsities are asked for beside it."""
    return round(1e6 * sparsity)


def _begin(program: Program, params: Any, masks: Any) -> FitState:
    return begin(program.start(params, masks), 0)


def _train(problem: Problem, program: Program, member: Member, report: Report) -> FitState:
    """As a ticket is trained: until patience or the epochs are used up."""
    hooks = Hooks(report=lambda _, epoch, loss, evaluation: report(member.name, epoch, loss, evaluation))
    (state,) = fit(problem.trainer._replace(program=program), [member], hooks)
    return state


def _result(problem: Problem, program: Program, state: FitState, dense: Ticket, about: dict[str, Any]) -> Result:
    """Measured on the test part, and judged against the dense model, as a ticket is.

    Args:
      problem: of the dense model.
      program: of the method.
      state: what was trained.
      dense: level 0 of the same problem.
      about: method, entries kept, sparsity and note.
    """
    best_epoch = int(state.best_epoch)
    measured = measure(problem, program, state.best.params, best_epoch, dense, state.best_means)
    return Result(
        level=None,
        metrics=measured.metrics,
        per_user=measured.per_user,
        best_epoch=best_epoch,
        epochs=int(state.evaluated_epoch),
        seconds=float(state.seconds),
        verdict=measured.verdict,
        tied_users=measured.tied_users,
        cut_short=is_cut_short(best_epoch, int(state.evaluated_epoch), problem.settings),
        **in_words(problem.settings),
        **about,
    )
