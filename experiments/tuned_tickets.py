r"""Do tickets get better with an L2 and a learning rate of their own, and do they win then?

    python -m experiments.tuned_tickets runs/mine                                 (a third of its L2, and three times)
    python -m experiments.tuned_tickets runs/mine --l2 0.03 0.1 --learning-rate 0.001 0.0025
    python -m experiments.tuned_tickets runs/mine --levels 0 3 --patience 200     (level 0: the dense model too)

A run of find_tickets trains tickets with the settings of its dense model, which may be tuned for that one alone. Here
each ticket keeps its entries and its first values, and is trained again with each pair of an L2 and a rate; the best on
the validation part counts, as found among them, and is judged beside the dense model on the test part. Masks stay those
of the run: what a search would prune with other settings is another run.

Leaves results.csv, table.md and figure.png. The same command goes on with the training in which it was stopped; what
other values gave before, in the same --out, stays in the table.
"""

import dataclasses
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import tyro

import lthjax
from experiments import cli
from experiments.find_tickets import mark_of
from experiments.paper.rows import Row, is_cut_short, markdown, with_warning, write_results
from experiments.paper.runs import kept_on_disk
from lthjax import plots
from lthjax.errors import SettingsError
from lthjax.settings import Settings, values

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from lthjax.exploration.run import Run
    from lthjax.exploration.ticket import FoundTicket
    from lthjax.tickets.result import Result

TUNED = ("l2", "learning_rate", "patience")  # what trials differ in
_FREE = (*TUNED, "levels", "sparsities")  # what one and the same ticket may be found with
FACTORS = (1 / 3, 3)  # of the L2 of the run, where none is given
_OF_RESULT = ("best_epoch", "epochs", "seconds", "cut_short", "selection")  # columns


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The run, and what its tickets are trained with."""

    run: tyro.conf.Positional[str] = ""
    """Run folder of find_tickets; of several seeds, the folder of one of them."""
    levels: tuple[int, ...] = ()
    """Levels to train again, 0 is the dense model; by default all but that."""
    l2: tuple[float, ...] = ()
    """L2 weights; by default a third of the run's, and three times."""
    learning_rate: tuple[float, ...] = ()
    """Learning rates; by default the run's."""
    patience: int | None = None
    """Epochs without a better validation metric after which a training stops; by default the run's."""
    out: str | None = None
    """Folder of results; by default that of the run with -tuned behind its name."""
    picture: plots.Picture = "png"
    """Format of the picture."""


class Trial(NamedTuple):
    """A ticket as it was trained once."""

    settings: Settings
    result: "Result"

    @property
    def valid(self) -> float:
        """What chooses."""
        return self.result.metrics[f"valid_{self.result.main_metric}"]


def main(config: Config) -> list[Row]:
    """Train what is missing, choose, judge, and leave table and picture; returns a row per trial."""
    run = opened(config.run)
    folder = Path(config.run).resolve()
    out = Path(config.out or folder.with_name(f"{folder.name}-tuned"))
    tickets = {ticket.level: ticket for ticket in run.tickets}
    if 0 not in tickets:
        raise SettingsError(f"RUN: wanted a run with a finished dense model; {config.run} has none.")
    levels = config.levels or tuple(level for level in tickets if level)
    if missing := sorted(set(levels) - set(tickets)):
        raise SettingsError(f"--levels: wanted levels that {config.run} has, {sorted(tickets)}; got {missing}.")
    folders = {level: out / "trials" / mark_of_ticket(ticket) for level, ticket in tickets.items()}
    trials = {level: [as_found(ticket), *kept(ticket, folders[level])] for level, ticket in tickets.items()}
    for level in levels:
        for settings in choices(tickets[level].settings, config):
            if all(settings != trial.settings for trial in trials[level]):
                trials[level].append(trained_again(tickets[level], settings, folders[level]))
                print(in_words(trials[level][-1]), flush=True)
    rows = [row for level in trials for row in rows_of(trials[level], best(trials[0]))]
    metric = trials[0][0].result.main_metric
    text = text_of(rows, metric)
    write_results(out, rows, text, lambda figure: draw(rows, figure.add_subplot()), config.picture)
    return rows


def opened(folder: str) -> "Run":
    """The run of one seed, whose tickets can be trained again from what its settings say.

    Raises:
      SettingsError: there are several seeds, something was given in code, or no validation part chose epochs.
    """
    if not folder:
        raise SettingsError("RUN: wanted a run folder of find_tickets; got none.")
    run = lthjax.load_run(folder)
    if hasattr(run, "seeds"):
        seed = min(run.seeds)
        raise SettingsError(f"RUN: wanted the run of one seed, such as {Path(folder) / f'seed_{seed}'}; got {folder}.")
    in_code = {kind for kind, what in run.config.get("given", {}).items() if what} - {"search", "score"}
    if in_code or run.settings.optimizer != run.config["optimizer"]:
        what = ", ".join(sorted(in_code)) or "optimizer"
        raise SettingsError(f"{folder}: wanted a run that its settings tell all of; got one with a given {what}.")
    if run.settings.selection != "valid":
        raise SettingsError(f"{folder}: wanted epochs chosen on a validation part; got --selection test.")
    return run


def mark_of_ticket(ticket: "FoundTicket") -> str:
    """What all trials of a ticket share, in a folder's name: entries, first values, data, and settings but for TUNED.

    Not how many levels the run has, which may grow; nor how the entries were found: they are in it themselves.
    """
    from lthjax.training.fingerprint import of_table

    shared = {name: value for name, value in values(ticket.settings, Settings).items() if name not in _FREE}
    what = {"data": ticket.ticket.fingerprint, "masks": of_table(ticket.masks), "start": of_table(ticket.start)}
    return f"level_{ticket.level:02d}-{mark_of(shared | what)}"


def choices(own: Settings, config: Config) -> list[Settings]:
    """What a ticket is trained with, but for what it was found with.

    Args:
      own: the settings that it was found with.
      config: the flags.
    """
    weights = config.l2 or tuple(own.l2 * factor for factor in FACTORS)
    rates = config.learning_rate or (own.learning_rate,)
    patience = own.patience if config.patience is None else config.patience
    pairs = itertools.product(dict.fromkeys(weights), dict.fromkeys(rates))
    chosen = [dataclasses.replace(own, l2=l2, learning_rate=rate, patience=patience) for l2, rate in pairs]
    return [settings for settings in chosen if settings != own]


def as_found(ticket: "FoundTicket") -> Trial:
    """The ticket of the run."""
    from lthjax.tickets.ticket import result

    return Trial(ticket.settings, result(ticket.ticket))


def trained_again(ticket: "FoundTicket", settings: Settings, folder: Path) -> Trial:
    """The same entries from the same first values, or what lies on disk of that.

    Args:
      ticket: of the run.
      settings: to train with.
      folder: of all trials of the ticket.
    """
    from lthjax.tickets.ticket import result

    changes = {name: getattr(settings, name) for name in TUNED}
    name = "-".join(f"{name}_{value!r}" for name, value in changes.items())
    return Trial(settings, kept_on_disk(folder / name, lambda: result(ticket.retrain(**changes))))


def kept(ticket: "FoundTicket", folder: Path) -> Iterator[Trial]:
    """All trials of a ticket that lie on disk, by name.

    Args:
      ticket: of the run.
      folder: as of `trained_again`, which names them.
    """
    pattern = re.compile("-".join(f"{name}_(.*)" for name in TUNED))
    for trial in sorted(folder.glob("*")):
        if read := pattern.fullmatch(trial.name):
            changes = {name: float(value) for name, value in zip(TUNED, read.groups(), strict=True)}
            changes["patience"] = int(changes["patience"])
            yield trained_again(ticket, dataclasses.replace(ticket.settings, **changes), folder)


def best(trials: Sequence[Trial]) -> Trial:
    """The best on the validation part; of equal ones the first, which is as found."""
    return max(trials, key=lambda trial: trial.valid)


def rows_of(trials: Sequence[Trial], dense: Trial) -> Iterator[Row]:
    """A row per trial of a ticket, judged beside the best dense model.

    Args:
      trials: of one ticket, as found first.
      dense: of level 0, the best.
    """
    from lthjax.evaluation import verdict

    metric, chosen = dense.result.main_metric, best(trials)
    for number, trial in enumerate(trials):
        judged = verdict.DENSE
        if trial is not dense:
            per_user = (part.per_user[metric] for part in (dense.result, trial.result))
            judged = verdict.compare(*per_user, dense.result.best_epoch, trial.result.best_epoch)
        yield {
            "level": trial.result.level,
            "sparsity": trial.result.sparsity,
            "as_found": number == 0,
            "chosen": trial is chosen,
            **{name: getattr(trial.settings, name) for name in TUNED},
            **trial.result.metrics,
            **{name: getattr(trial.result, name) for name in _OF_RESULT},
            **judged.columns(),
        }


def in_words(trial: Trial) -> str:
    """A trial as a line."""
    result, settings = trial.result, trial.settings
    recall = f"validation {trial.valid:.4f}, test {result.metrics[result.main_metric]:.4f} at epoch {result.best_epoch}"
    tried = f"L2 {settings.l2:.3g}, rate {settings.learning_rate:.3g}"
    return f"level {result.level} ({result.sparsity:.1%} pruned), {tried}: {recall}"


def text_of(rows: Sequence[Row], metric: str) -> str:
    """The table: each ticket as found and with the best settings of its own.

    Args:
      rows: of all trials.
      metric: that chose and is judged.
    """
    judged_beside = [row for row in rows if row["level"] == 0 and row["chosen"]]
    lines, doubt = [], " ?" if is_cut_short(judged_beside) else ""
    for row in rows:
        if row["as_found"] or row["chosen"]:
            interval = f"{row['interval_low']:+.4f} to {row['interval_high']:+.4f}"
            how = " and ".join(name.replace("_", " ") for name in ("as_found", "chosen") if row[name])
            lines.append(
                [
                    *(f"{row['sparsity']:.1%}", how, f"{row['l2']:.3g}", f"{row['learning_rate']:.3g}"),
                    *(f"{row[f'valid_{metric}']:.4f}", f"{row[metric]:.4f}", row["best_epoch"]),
                    *((f"{row['verdict']}{doubt}", interval) if row["verdict"] != "dense" else ("dense", "")),
                ]
            )
    header = ["pruned", "settings", "L2", "rate", f"validation {metric}", "test", "epoch", "verdict", "interval"]
    tried = len([row for row in rows if not row["as_found"]])
    note = f"{tried} trainings beside those of the run. The best on the validation part is chosen; every row is judged "
    note += "beside the chosen dense model, on the test part, over users."
    return with_warning(f"## Tickets with settings of their own\n\n{markdown(header, lines)}\n\n{note}", judged_beside)


def draw(rows: Sequence[Row], ax: "Axes") -> None:
    """Test metric against sparsity, as found and as chosen.

    Args:
      rows: of all trials.
      ax: where.
    """
    names = {"as found": "as_found", "with settings of their own": "chosen"}
    plots.several({name: [row for row in rows if row[column]] for name, column in names.items()}, ax)


if __name__ == "__main__":
    cli.run(main, Config, __doc__)
