"""A ticket: which entries are kept, the values they start from, the values they were trained to, and how good that is.

Letters: M users, N items, F dimensions, U users with test items, S entries kept.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lthjax import metric_names
from lthjax.embeddings import Embeddings
from lthjax.evaluation.verdict import Verdict
from lthjax.pruning import masks as masking
from lthjax.runtime import checkpoint
from lthjax.settings import Settings, from_record
from lthjax.sharding import saved
from lthjax.sharding.table import ShardedTable
from lthjax.tickets import effort
from lthjax.tickets.effort import Cost
from lthjax.tickets.result import Result, in_words, is_cut_short
from lthjax.training.step import TrainState


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Ticket:
    """One level of iterative pruning, trained and measured. Level 0 is the dense model.

    Of a run of several processes, tables are `ShardedTable`s, of which each process has its rows.

    Attributes:
      level: prunings so far.
      masks: True where an entry is kept.
      start: layer-0 values before the first step, 0 where pruned; by default the dense model's first values.
      trained: layer-0 values of the best epoch, 0 where pruned.
      metrics: means over users of the test part, "recall@20" and so on, and of the validation part, "valid_recall@20".
      users: [U] users with test items.
      per_user: the test metrics of each of those users, name -> [U].
      best_epoch: epoch of `trained`, from 1; 0 of a table that was trained elsewhere.
      epochs: epochs trained until patience or the limit.
      seconds: wall-clock time of this level.
      verdict: against the dense model of the same run.
      parent: the level whose trained weights were pruned, None for the dense model.
      settings: of the run.
      optimizer: its name in the settings, or the fingerprint of one that was given in code.
      optimizer_label: what one that was given in code is called, "" where nothing tells.
      given: fingerprints of other functions that were given in code, by what they are: "backbone", "loss", "score",
        "search"; and of a table that was trained elsewhere, "dense".
      fingerprint: of the data split.
      tied_users: test users of whose first K + 1 items (K = 20 unless --at says so) two score alike; None in tickets
        of older versions.
      cost: of the search for it and of its training; None in tickets of older versions.
      origin: state with an optimizer that is not fresh: of the dense model, what later levels rewind to (epoch:K); of a
        ticket, what it started from (epoch:K, none).
      final: state that children are pruned from, where it is not `trained` with a fresh optimizer.
      saved_states: `origin` and `final` as named arrays, of a ticket that was loaded alone.
    """

    level: int
    masks: Embeddings
    start: Embeddings
    trained: Embeddings
    metrics: dict[str, float]
    users: np.ndarray
    per_user: dict[str, np.ndarray]
    best_epoch: int
    epochs: int
    seconds: float
    verdict: Verdict
    parent: int | None
    settings: Settings
    fingerprint: str
    optimizer: str = "adam"
    optimizer_label: str = ""
    given: dict[str, str] = dataclasses.field(default_factory=dict)
    tied_users: int | None = None
    cost: Cost | None = None
    origin: TrainState | None = None
    final: TrainState | None = None
    saved_states: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def num_kept(self) -> int:
        """S, entries kept of (M + N) F."""
        return masking.num_kept(self.masks)

    @property
    def sparsity(self) -> float:
        """Share of entries pruned."""
        return masking.sparsity(self.masks)

    def __repr__(self) -> str:
        """One line that says what it is worth."""
        (num_users, dim), num_items = self.masks.user.shape, self.masks.item.shape[0]
        shape = f"{num_users:,} users, {num_items:,} items, {dim} dimensions"
        scores = metric_names.in_words(self.metrics)
        return f"Ticket(level {self.level}, {self.sparsity:.1%} pruned, {scores}, {self.verdict.name}; {shape})"


def whole(ticket: Any) -> Ticket:
    """The ticket itself, of what `load_run` gives too.

    Raises:
      SettingsError: its rows lie in several processes.
    """
    ticket = ticket if isinstance(ticket, Ticket) else ticket.ticket
    for table in ticket.masks:
        if isinstance(table, ShardedTable):
            np.asarray(table)  # which raises where it is not whole
    return ticket


def with_tables(ticket: Ticket, change: Callable[[Any], Any]) -> Ticket:
    """A ticket with its masks, weights and states changed.

    Args:
      ticket: with the tables.
      change: pytree -> pytree.
    """
    parts = {name: getattr(ticket, name) for name in ("masks", "start", "trained", "origin", "final")}
    return dataclasses.replace(ticket, **{name: change(part) for name, part in parts.items() if part is not None})


def result(ticket: Ticket) -> Result:
    """What tables need of a ticket."""
    return Result(
        level=ticket.level,
        sparsity=ticket.sparsity,
        num_kept=ticket.num_kept,
        metrics=ticket.metrics,
        per_user=ticket.per_user,
        best_epoch=ticket.best_epoch,
        epochs=ticket.epochs,
        seconds=ticket.seconds,
        verdict=ticket.verdict,
        tied_users=ticket.tied_users,
        dead_users=masking.num_dead(ticket.masks.user),
        dead_items=masking.num_dead(ticket.masks.item),
        cut_short=is_cut_short(ticket.best_epoch, ticket.epochs, ticket.settings),
        cost=ticket.cost,
        **in_words(ticket.settings, given_in_code(ticket), ticket.optimizer_label),
    )


_STATES = ("origin/", "final/")
_FACTS = ("level", "metrics", "best_epoch", "epochs", "seconds", "parent", "fingerprint")


def to_checkpoint(ticket: Ticket) -> tuple[dict[str, np.ndarray | ShardedTable], dict[str, Any]]:
    """(arrays, facts) to save: masks as bits, values of kept entries only (so a sparse ticket is a small file).

    Tables that are cut over devices have all values, with 0 where pruned, so that each device's rows stand where they
    are looked for; Orbax compresses them.
    """
    arrays: dict[str, np.ndarray | ShardedTable] = {"users": ticket.users}
    for side in Embeddings._fields:
        mask, *tables = (getattr(tables, side) for tables in (ticket.masks, ticket.start, ticket.trained))
        arrays[f"mask/{side}"] = masking.pack(mask)
        for name, table in zip(("start", "trained"), tables, strict=True):
            is_cut = isinstance(table, ShardedTable)
            arrays[f"{name}/{side}"] = table if is_cut else np.asarray(table)[np.asarray(mask)]
    arrays |= {f"per_user/{name}": values for name, values in ticket.per_user.items()}
    for name in ("origin", "final"):
        state = getattr(ticket, name)
        if state is not None:
            arrays |= checkpoint.named_leaves(state, f"{name}/")
    facts = {name: getattr(ticket, name) for name in _FACTS}
    facts |= {"verdict": ticket.verdict._asdict(), "dim": int(ticket.masks.user.shape[1])}
    facts["settings"] = dataclasses.asdict(ticket.settings)
    facts["optimizer"] = ticket.optimizer
    cost = None if ticket.cost is None else ticket.cost.record()
    optional = {"given": ticket.given or None, "tied_users": ticket.tied_users, "cost": cost}
    optional["optimizer_label"] = ticket.optimizer_label or None
    facts |= {name: value for name, value in optional.items() if value is not None}
    return arrays, facts


def given_in_code(ticket: Ticket) -> list[str]:
    """What the ticket was made with in place of what its settings name."""
    return [*ticket.given, *(["optimizer"] if ticket.optimizer.startswith("given, ") else [])]


def made_with(ticket: Ticket) -> dict[str, Any]:
    """Settings and optimizer of a ticket as files have them."""
    return dataclasses.asdict(ticket.settings) | {"optimizer": ticket.optimizer}


def description(ticket: Ticket) -> dict[str, Any]:
    """What a ticket was made with, as config.json says it of a run."""
    return {
        "settings": dataclasses.asdict(ticket.settings),
        "optimizer": ticket.optimizer,
        "given": ticket.given,
        "data": {"fingerprint": ticket.fingerprint},
    }


def from_checkpoint(
    arrays: dict[str, np.ndarray | ShardedTable], facts: dict[str, Any], state: TrainState | None = None
) -> Ticket:
    """The ticket that `to_checkpoint` took apart.

    Args:
      arrays: named arrays.
      facts: the rest.
      state: a state of the run's model and optimizer, to restore `origin` and `final` after; without it (a ticket
        loaded alone) they stay as they were saved, for `with_states`.
    """
    masks, start, trained = {}, {}, {}
    for side in Embeddings._fields:
        mask = masking.unpack(arrays[f"mask/{side}"], facts["dim"])
        masks[side] = mask if isinstance(mask, ShardedTable) else jnp.asarray(mask)
        start[side] = _scattered(mask, arrays[f"start/{side}"])
        trained[side] = _scattered(mask, arrays[f"trained/{side}"])
    prefix = "per_user/"
    ticket = Ticket(
        masks=Embeddings(**masks),
        start=Embeddings(**start),
        trained=Embeddings(**trained),
        users=arrays["users"],
        per_user={name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)},
        verdict=Verdict(**facts["verdict"]),
        settings=from_record(facts["settings"]),
        optimizer=facts.get("optimizer") or facts["settings"]["optimizer"],  # where older versions have it
        optimizer_label=facts.get("optimizer_label", ""),
        given=facts.get("given", {}),
        tied_users=facts.get("tied_users"),
        cost=effort.from_record(facts["cost"]) if "cost" in facts else None,
        **{name: facts[name] for name in _FACTS},
        saved_states={name: array for name, array in arrays.items() if name.startswith(_STATES)},
    )
    return ticket if state is None else with_states(ticket, state)


def with_states(ticket: Ticket, state: TrainState) -> Ticket:
    """A ticket that was loaded alone, with `origin` and `final` restored after a state of its model and optimizer."""
    if not ticket.saved_states:
        return ticket
    found = {
        prefix.rstrip("/"): checkpoint.restore_leaves(state, ticket.saved_states, prefix)
        for prefix in _STATES
        if f"{prefix}step" in ticket.saved_states
    }
    return dataclasses.replace(ticket, **found, saved_states={})


def _scattered(mask: np.ndarray | ShardedTable, kept: np.ndarray | ShardedTable) -> jax.Array | ShardedTable:
    """A table of its kept values, or as it was saved whole."""
    if kept.ndim == mask.ndim:
        return kept if isinstance(kept, ShardedTable) else jnp.asarray(kept)
    values = np.zeros(mask.shape, kept.dtype)
    values[mask] = kept
    return jnp.asarray(values)


def load_ticket(path: str | Path) -> Ticket:
    """A ticket by itself, from its folder (`RUN/tickets/level_03`); the rest of its run is not needed.

    Raises:
      CheckpointError: there is none, or it is damaged.
    """
    return from_checkpoint(*saved.load(Path(path)))
