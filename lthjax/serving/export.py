"""From a ticket and its split to what serves: a file (`export`) or an object in memory (`serving`)."""

from pathlib import Path
from typing import Literal

import jax
import numpy as np

from lthjax.data import id_lists
from lthjax.data.split import Split
from lthjax.embeddings import Embeddings
from lthjax.errors import DataError, SettingsError
from lthjax.graph import graph
from lthjax.model import backbones
from lthjax.pruning.rules import prune_to_sparsity
from lthjax.serving import compressed, file_format
from lthjax.serving.compressed import CompressedTicket
from lthjax.serving.file_format import Contents, Tables
from lthjax.serving.packing import Layout, Values
from lthjax.serving.top_k import Scoring
from lthjax.tickets import ticket as tickets
from lthjax.tickets.ticket import Ticket

Store = Literal["final", "layer0"]


def export(
    ticket: Ticket,
    split: Split,
    path: str | Path,
    *,
    values: Values = "float32",
    store: Store = "final",
    final_sparsity: float | None = None,
    seen: bool = True,
    layout: Layout = "auto",
) -> Path:
    """Write a ticket as a file that `lthjax.load_compressed` serves without JAX; returns its path.

    What is stored of LightGCN, whose final embeddings are dense however sparse its layer-0 table is:

      store "final":                   the propagated tables; as large as dense ones.
      store "final", final_sparsity:   the same without their smallest values. That costs Recall, see
                                       `experiments.cost_report`.
      store "layer0":                  the sparse table and the training pairs, propagated when the file is loaded: a
                                       small file, but dense tables in memory.

    MF has nothing to propagate: both say the trained table.

    Args:
      ticket: what to write.
      split: that it was found on, for ids and seen items.
      path: of the file.
      values: float32 (bit by bit), float16, or int8 with a scale a row.
      store: see above.
      final_sparsity: share of the entries of LightGCN's final tables that is written as 0.
      seen: whether to write training and validation pairs, so that seen items can be left out.
      layout: where the zeros are; auto takes what is smallest.

    Raises:
      DataError: the split is not the ticket's, or values are not finite.
      SettingsError: choices that contradict one another.
      CheckpointError: the file cannot be written.
    """
    file_format.write(path, contents_of(ticket, split, store, final_sparsity, seen), values=values, layout=layout)
    return Path(path)


def serving(ticket: Ticket, split: Split, *, scoring: Scoring = "auto") -> CompressedTicket:
    """The same without a file: recommendations and neighbours of a ticket in memory.

    Args:
      ticket: what to serve.
      split: that it was found on.
      scoring: as in `compressed.serve`.

    Raises:
      DataError: the split is not the ticket's.
    """
    return compressed.serve(contents_of(ticket, split), scoring=scoring)


def contents_of(
    ticket: Ticket, split: Split, store: Store = "final", final_sparsity: float | None = None, seen: bool = True
) -> Contents:
    """What `export` writes; its arguments, its errors."""
    ticket = tickets.whole(ticket)
    settings = tickets.settings_of(ticket)
    propagates = settings.model == "lightgcn" and settings.layers > 0
    if ticket.fingerprint != split.fingerprint:
        raise DataError(
            f"{split.name}: wanted the split that the ticket was found on ({ticket.fingerprint}); "
            f"got {split.fingerprint}."
        )
    if store not in ("final", "layer0"):
        raise SettingsError(f"store: wanted final or layer0; got {store!r}.")
    if final_sparsity is not None and (store != "final" or not propagates):
        raise SettingsError(
            f"final_sparsity: wanted with LightGCN's propagated tables only (store final); "
            f"got {settings.model} and store {store}."
        )
    at_load = store == "layer0" and propagates
    if at_load and not seen:
        raise SettingsError("store layer0: wanted the training pairs in the file, to propagate over; got seen False.")
    table = ticket.trained if at_load else final_embeddings(ticket, split)
    if final_sparsity is not None:
        table = prune_to_sparsity(table, final_sparsity, scope="joint").params
    facts = {
        "level": ticket.level,
        "sparsity": ticket.sparsity,
        "metrics": {name: float(value) for name, value in ticket.metrics.items()},
        "best_epoch": ticket.best_epoch,
        "verdict": ticket.verdict.name,
        "model": settings.model,
        "data": split.name,
        "fingerprint": ticket.fingerprint,
        "settings": ticket.settings,
        "store": store,
        "final_sparsity": final_sparsity,
        "propagate": {"layers": settings.layers, "combine": settings.combine} if at_load else None,
    }
    return Contents(
        tables=Tables(*(np.asarray(side) for side in table)),
        user_ids=split.user_ids,
        item_ids=split.item_ids,
        train=id_lists.from_pairs(split.train, split.num_users) if seen else None,
        valid=id_lists.from_pairs(split.valid, split.num_users) if seen else None,
        facts=facts,
    )


def final_embeddings(ticket: Ticket, split: Split) -> Embeddings:
    """User [M, F] and item [N, F] embeddings whose products are the scores: of LightGCN propagated over `split`."""
    settings = tickets.settings_of(ticket)
    if settings.model == "mf":
        return ticket.trained
    training = graph.from_pairs(split.train, split.num_users, split.num_items)
    embed = jax.jit(backbones.lightgcn, static_argnames=("num_layers", "combine"))
    return embed(ticket.trained, training, num_layers=settings.layers, combine=settings.combine)
