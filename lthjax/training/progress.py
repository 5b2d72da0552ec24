"""Two progress bars, levels and epochs: quiet where nobody watches a terminal."""

import contextlib
import warnings
from collections.abc import Callable, Iterator

from lthjax import metric_names
from lthjax.training.fit import Evaluation, Plan

Report = Callable[[int, float, Evaluation | None], None]

# Without tqdm's own time left, which knows of finished levels alone.
_LEVELS = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"


class Bars:
    """Bars of a run: `level` opens the epoch bar of a level and returns what training reports to."""

    def __init__(self, levels, epochs, plan: Plan, part: str):
        self._levels, self._epochs, self._plan, self._part = levels, epochs, plan, part
        self._best, self._what, self._left = None, "", ""

    def level(self, number: int, sparsity: float, epoch: int) -> Report:
        """Start the epoch bar of a level that stands at `epoch`."""
        return self._start(f"level {number}, {sparsity:.1%} pruned", epoch, self._plan.epochs)

    def stretch(self, sparsity: float, epoch: int, last: int) -> Report:
        """Start the epoch bar of a stretch of a search.

        Args:
          sparsity: of its masks.
          epoch: at which it stands.
          last: at which it ends.
        """
        return self._start(f"search, {sparsity:.1%} pruned", epoch, last)

    def show_left(self, left: str) -> None:
        """Show beside the level how long all of them will still take."""
        if left != self._left:
            self._left = left
            self._levels.set_postfix_str(self._described())

    def levels_done(self, number: int) -> None:
        """Move the level bar."""
        self._levels.update(number)

    def _start(self, what: str, epoch: int, last: int) -> Report:
        self._what = what
        self._levels.set_postfix_str(self._described())
        self._epochs.reset(total=last)
        self._epochs.update(epoch)
        self._best = None
        return self._report

    def _described(self) -> str:
        return f"{self._what}, {self._left}" if self._left else self._what

    def _report(self, epoch: int, loss: float, evaluation: Evaluation | None) -> None:
        if evaluation is not None:
            self._best = evaluation.means[self._plan.main_metric]
        shown = f"loss {loss:.4f}"
        if self._best is not None:
            shown += f", {self._part} {metric_names.label(self._plan.main_metric)} {self._best:.4f}"
        self._epochs.set_postfix_str(shown, refresh=False)
        self._epochs.update(epoch - self._epochs.n)


@contextlib.contextmanager
def bars(num_levels: int, plan: Plan, show: bool | None, selection: str) -> Iterator[Bars]:
    """Open the bars.

    Args:
      num_levels: levels of the run, the dense one included.
      plan: of each level.
      show: True or False; None shows them where standard error is a terminal.
      selection: part that the shown metric is of, as `Problem.selection_name`.
    """
    with warnings.catch_warnings():  # a notebook without ipywidgets shows bars of text; nobody need be told
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm

    disable = None if show is None else not show
    with (
        tqdm(total=num_levels, desc="levels", bar_format=_LEVELS, disable=disable, dynamic_ncols=True) as levels,
        tqdm(
            total=plan.epochs, desc="epochs", unit="epoch", disable=disable, dynamic_ncols=True, leave=False
        ) as epochs,
    ):
        yield Bars(levels, epochs, plan, selection.replace("valid", "validation").replace("_", " "))
