"""From a ticket and its split to what serves: a file (`export`) or an object in memory (`serving`)."""

from pathlib import Path
from typing import Literal, NamedTuple, get_args

import jax
import numpy as np

from lthjax.data import id_lists
from lthjax.data.split import Split
from lthjax.embeddings import Embeddings
from lthjax.errors import DataError, SettingsError
from lthjax.graph import graph as graphs
from lthjax.model import backbones
from lthjax.model.backbones import Backbone
from lthjax.pruning.rules import prune_to_sparsity
from lthjax.runtime import forks
from lthjax.search.named import backbone_of_ticket
from lthjax.serving import compressed, file_format, safetensors_file, scipy_file, scipy_lightgcn
from lthjax.serving.compressed import CompressedTicket
from lthjax.serving.file_format import Contents, Tables
from lthjax.serving.packing import Layout, Values
from lthjax.serving.top_k import Scoring
from lthjax.tickets import ticket as ticketing
from lthjax.tickets.ticket import Ticket

Store = Literal["final", "layer0"]
Format = Literal["auto", "lthjax", "safetensors", "scipy"]
_WRITERS = {"lthjax": file_format.write, "safetensors": safetensors_file.write, "scipy": scipy_file.write}


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
    backbone: Backbone | None = None,
    format: Format = "auto",
) -> Path:
    """Write a ticket as a file that `lthjax.load_compressed` serves without JAX, or for others; returns its path.

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
      values: float32 (bit by bit), float16, or int8 with a scale a row; safetensors has the first two, SciPy float32.
      store: see above.
      final_sparsity: share of the entries of LightGCN's final tables that is written as 0.
      seen: whether to write training and validation pairs, so that seen items can be left out.
      layout: where the zeros are; auto takes what is smallest.
      backbone: that the ticket was found with, where it was given in code; only final tables can be stored of it.
      format: "lthjax"; "safetensors", see `safetensors_file`; "scipy", a matrix that `scipy.sparse.load_npz` opens,
        see `scipy_file`. "auto" is safetensors where the name ends in .safetensors, else lthjax.

    Raises:
      DataError: the split is not the ticket's, or values are not finite.
      SettingsError: choices that contradict one another, or a package that is not installed.
      CheckpointError: the file cannot be written.
    """
    write = _WRITERS[_format_of(Path(path), format)]
    write(path, contents_of(ticket, split, Stored(store, final_sparsity, seen), backbone), values=values, layout=layout)
    return Path(path)


def _format_of(path: Path, format: str) -> str:
    """The format of a file; SettingsError where its name says another."""
    if format not in get_args(Format):
        raise SettingsError(f"format: wanted {', '.join(get_args(Format))}; got {format!r}.")
    is_safetensors = path.suffix.lower() == ".safetensors"
    if format == "auto":
        return "safetensors" if is_safetensors else "lthjax"
    if format == "scipy" and path.suffix != ".npz":
        raise SettingsError(f"format scipy: wanted a name that ends in .npz; got {path.name}.")
    if is_safetensors != (format == "safetensors") and (is_safetensors or path.suffix == ".npz"):
        raise SettingsError(f"format {format}: wanted a name that does not say another; got {path.name}.")
    return format


class Stored(NamedTuple):
    """What a file holds of a ticket; see `export`."""

    store: Store = "final"
    final_sparsity: float | None = None
    seen: bool = True


def serving(
    ticket: Ticket, split: Split, *, scoring: Scoring = "auto", backbone: Backbone | None = None
) -> CompressedTicket:
    """The same without a file: recommendations and neighbours of a ticket in memory.

    Args:
      ticket: what to serve.
      split: that it was found on.
      scoring: as in `compressed.serve`.
      backbone: as in `export`.

    Raises:
      DataError: the split is not the ticket's.
    """
    return compressed.serve(contents_of(ticket, split, backbone=backbone), scoring=scoring)


def contents_of(
    ticket: Ticket, split: Split, stored: Stored | None = None, backbone: Backbone | None = None
) -> Contents:
    """What `export` writes.

    Args:
      ticket: what to write.
      split: that it was found on.
      stored: what of it; the final tables and the seen items by default.
      backbone: as in `export`.

    Raises:
      DataError, SettingsError: as `export`.
    """
    ticket, stored = ticketing.whole(ticket), stored or Stored()
    settings = ticket.settings
    propagates = _propagates(ticket)
    _check(ticket, split, stored, propagates)
    at_load = stored.store == "layer0" and propagates
    table = ticket.trained if at_load else final_embeddings(ticket, split, backbone)
    if stored.final_sparsity is not None:
        table = prune_to_sparsity(table, stored.final_sparsity, scope="joint").params
    facts = {
        "level": ticket.level,
        "sparsity": ticket.sparsity,
        "metrics": {name: float(value) for name, value in ticket.metrics.items()},
        "best_epoch": ticket.best_epoch,
        "verdict": ticket.verdict.name,
        "model": settings.model,
        "data": split.name,
        "fingerprint": ticket.fingerprint,
        "settings": ticketing.made_with(ticket),
        "store": stored.store,
        "final_sparsity": stored.final_sparsity,
        "propagate": {"layers": settings.layers, "combine": settings.combine} if at_load else None,
    }
    train, valid = (id_lists.from_pairs(part, split.num_users) for part in (split.train, split.valid))
    return Contents(
        tables=Tables(*(np.asarray(side) for side in table)),
        user_ids=split.user_ids,
        item_ids=split.item_ids,
        item_counts=np.bincount(train.ids, minlength=split.num_items),
        train=train if stored.seen else None,
        valid=valid if stored.seen else None,
        facts=facts | ({"given": ticket.given} if ticket.given else {}),
    )


def _check(ticket: Ticket, split: Split, stored: Stored, propagates: bool) -> None:
    """Raise where the split is not the ticket's, or choices contradict one another."""
    store, final_sparsity, seen = stored
    own, other = ticket.fingerprint, split.fingerprint
    if own != other:
        raise DataError(f"{split.name}: wanted the split that the ticket was found on ({own}); got {other}.")
    if store not in ("final", "layer0"):
        raise SettingsError(f"store: wanted final or layer0; got {store!r}.")
    if store == "layer0" and "backbone" in ticket.given:
        raise SettingsError("store layer0: wanted MF or LightGCN, which a file can name; got a backbone given in code.")
    if final_sparsity is not None and (store != "final" or not propagates):
        model = ticket.settings.model
        raise SettingsError(f"final_sparsity: wanted with propagated tables only; got {model} and store {store}.")
    if store == "layer0" and propagates and not seen:
        raise SettingsError("store layer0: wanted the training pairs in the file, to propagate over; got seen False.")


def final_embeddings(ticket: Ticket, split: Split, backbone: Backbone | None = None) -> Embeddings:
    """User [M, F] and item [N, F] embeddings whose products are the scores: of LightGCN propagated over `split`.

    Args:
      ticket: with the layer-0 table.
      split: whose training part is the graph.
      backbone: as in `export`.

    Raises:
      SettingsError: the backbone is not the ticket's.
      ForkError: JAX would hang in this process.
    """
    forks.check()
    embed = backbone_of_ticket(ticket, backbone)
    if embed is backbones.mf:
        return ticket.trained
    return jax.jit(embed)(ticket.trained, graphs.from_pairs(split.train, split.num_users, split.num_items))


def item_layers(ticket: Ticket, split: Split) -> np.ndarray | None:
    """[N, F] of LightGCN, see `baskets.propagate`; None for other models."""
    if not _propagates(ticket):
        return None
    settings, tables = ticket.settings, (np.asarray(side) for side in ticket.trained)
    return scipy_lightgcn.lightgcn(*tables, split.train, settings.layers, settings.combine).item_layers


def _propagates(ticket: Ticket) -> bool:
    settings = ticket.settings
    return settings.model == "lightgcn" and settings.layers > 0 and "backbone" not in ticket.given
