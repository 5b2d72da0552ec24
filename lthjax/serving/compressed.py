"""A ticket as one small file that serves: recommendations and neighbours. NumPy and SciPy only, no JAX.

The file is described in `file_format`.

Letters: M users, N items, F dimensions, B queries, K items per list.
"""

import dataclasses
import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import sparse

from lthjax import metric_names
from lthjax.data import id_lists
from lthjax.data.id_lists import IdLists
from lthjax.errors import DataError
from lthjax.serving import ids, scipy_lightgcn, top_k
from lthjax.serving.file_format import Contents, Tables, check, read
from lthjax.serving.ids import Ranked
from lthjax.serving.top_k import Scoring


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CompressedTicket:
    """A ticket that serves. From `load_compressed`, or in memory from `serve`."""

    facts: dict[str, Any]  # level, sparsity, metrics (of the ticket in float32), settings, model, fingerprint, ...
    user: Any  # [M, F] final embeddings, a NumPy array, or CSR where scoring is sparse
    item: Any  # [N, F], a NumPy array, or CSC where scoring is sparse
    user_ids: np.ndarray  # [M] original ids, int64 or str
    item_ids: np.ndarray  # [N] likewise
    item_counts: np.ndarray  # [N] training interactions of each item, 0 where the file does not tell
    seen: IdLists | None  # M rows of training and validation items; None where the file has none
    scoring: Literal["dense", "sparse"]
    file_bytes: dict[str, int] = dataclasses.field(default_factory=dict)  # of its parts; empty without a file

    def embeddings(self) -> Tables:
        """Final embeddings as dense float32 arrays."""
        return Tables(*(x.toarray() if sparse.issparse(x) else x for x in (self.user, self.item)))

    def recommend(self, user_ids: Any, k: int = 20, exclude_seen: bool = True, items: Any = None) -> Ranked:
        """The best items for some users; of equal scores the item with more training interactions, then the lower id.

        A user whose row has no entry scores all items alike. Its list is the most popular items that it has not seen,
        and `is_popularity` of the result says so.

        Args:
          user_ids: [B] original ids, or a single one.
          k: list length.
          exclude_seen: leave out the user's training and validation items.
          items: original ids of the only items to rank; None ranks all.

        Raises:
          DataError: unknown ids, or `exclude_seen` for a file without seen items.
          SettingsError: k below 1, or more than `top_k.MOST_RESULTS` results.
        """
        if exclude_seen and self.seen is None:
            raise DataError("exclude_seen: wanted seen items; this ticket was exported without. False ranks all.")
        rows = ids.rows_of(user_ids, self.user_ids, "user")
        best = top_k.recommend(
            self.user,
            self.item,
            rows,
            k,
            seen=self.seen if exclude_seen else None,
            candidates=None if items is None else ids.rows_of(items, self.item_ids, "item"),
            counts=self.item_counts,
            scoring=self.scoring,
        )
        return ids.named(best, self.user_ids[rows], self.item_ids, (self.user[rows] != 0).sum(axis=1) == 0)

    def similar_items(self, item_ids: Any, k: int = 20) -> Ranked:
        """The other items with the highest cosine to some items ([B] original ids, or one); DataError if unknown."""
        return self._similar(self.item, item_ids, self.item_ids, k, "item")

    def similar_users(self, user_ids: Any, k: int = 20) -> Ranked:
        """The other users with the highest cosine to some users ([B] original ids, or one); DataError if unknown."""
        return self._similar(self.user, user_ids, self.user_ids, k, "user")

    def _similar(self, table: Any, asked: Any, known: np.ndarray, k: int, what: str) -> Ranked:
        rows = ids.rows_of(asked, known, what)
        return ids.named(top_k.similar(table, rows, k, scoring=self.scoring), known[rows], known)

    def sizes(self) -> dict[str, float]:
        """Bytes of the ticket, by name.

        "dense", both tables as dense float32; "memory", all arrays held. For a ticket from a file also "file"; its
        parts "tables", "ids", "counts", "seen" and "header"; "per_user" and "per_item", the mean of a row; "of_dense",
        the ratio tables / dense.
        """
        num_users, num_items = len(self.user_ids), len(self.item_ids)
        arrays = [self.user_ids, self.item_ids, self.item_counts]
        for table in (self.user, self.item):
            arrays += [table.data, table.indices, table.indptr] if sparse.issparse(table) else [table]
        if self.seen is not None:
            arrays += [self.seen.starts, self.seen.ids]
        dense = (num_users + num_items) * self.user.shape[1] * 4
        sizes: dict[str, float] = {"dense": dense, "memory": sum(array.nbytes for array in arrays)}
        if parts := self.file_bytes:
            tables = parts["user"] + parts["item"]
            sizes |= {
                "file": parts["file"],
                "tables": tables,
                "ids": parts["user_ids"] + parts["item_ids"],
                "seen": parts["train"] + parts["valid"],
                "counts": parts["item_counts"],
                "header": parts["header"],
                "per_user": parts["user"] / max(num_users, 1),
                "per_item": parts["item"] / max(num_items, 1),
                "of_dense": tables / max(dense, 1),
            }
        return sizes

    def __repr__(self) -> str:
        """One line with level, metrics, shape and sizes."""
        return f"CompressedTicket({'; '.join(f'{name} {value}' for name, value in self._summary().items())})"

    def _repr_html_(self) -> str:
        """The same as a table, for notebooks."""
        lines = (
            f"<tr><th style='text-align:left'>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
            for name, value in self._summary().items()
        )
        return f"<table><caption>CompressedTicket</caption>{''.join(lines)}</table>"

    def _summary(self) -> dict[str, str]:
        facts, sizes = self.facts, self.sizes()
        summary = {}
        if {"level", "sparsity"} <= facts.keys():
            summary["level"] = f"{facts['level']}, {facts['sparsity']:.1%} pruned"
        for name in metric_names.headline(facts.get("metrics", {})):
            summary[name] = f"{facts['metrics'][name]:{metric_names.digits(name)}}"
        num_users, num_items, dim = len(self.user_ids), len(self.item_ids), self.user.shape[1]
        summary["shape"] = f"{num_users:,} users, {num_items:,} items, {dim} dimensions"
        if "file" in sizes:
            summary["tables"] = f"{_in_words(sizes['tables'])}, {sizes['of_dense']:.0%} of dense float32"
            summary["file"] = _in_words(sizes["file"])
        summary["scoring"] = self.scoring
        return summary


def serve(
    contents: Contents, *, scoring: Scoring = "auto", file_bytes: Mapping[str, int] | None = None
) -> CompressedTicket:
    """A ticket that serves the contents of a file, or what such a file would hold.

    Args:
      contents: tables, ids, seen items, facts.
      scoring: "sparse" keeps sparse tables in memory and multiplies stored entries only; "dense" is faster except for
        very sparse tables; "auto" takes the faster one (`top_k.choose`).
      file_bytes: of the parts of the file that it comes from.

    Raises:
      DataError: contents that do not go together, or tables that do not stay finite when they are propagated.
      SettingsError: another scoring.
    """
    check(contents)
    top_k.check_scoring(scoring)
    tables, train, counts = contents.tables, contents.train, contents.item_counts
    if spread := contents.facts.get("propagate"):
        with np.errstate(over="ignore", invalid="ignore"):
            tables = Tables(*scipy_lightgcn.lightgcn(*tables, train.pairs(), spread["layers"], spread["combine"]))
        if not all(np.isfinite(table).all() for table in tables):
            raise DataError("propagate: wanted tables that stay finite; got others.")
    if counts is None:
        counts = np.bincount([] if train is None else train.ids, minlength=len(contents.item_ids))
    if scoring == "auto":
        scoring = top_k.choose(*tables)
    if scoring == "sparse":
        tables = Tables(sparse.csr_array(tables.user), sparse.csc_array(tables.item))
    seen = [rows.pairs() for rows in (train, contents.valid) if rows is not None]
    return CompressedTicket(
        facts=contents.facts,
        user=tables.user,
        item=tables.item,
        user_ids=contents.user_ids,
        item_ids=contents.item_ids,
        item_counts=counts,
        seen=id_lists.from_pairs(np.concatenate(seen), len(contents.user_ids)) if seen else None,
        scoring=scoring,
        file_bytes=dict(file_bytes or {}),
    )


def load_compressed(path: str | Path, *, scoring: Scoring = "auto") -> CompressedTicket:
    """The ticket of a file, ready to serve; needs NumPy and SciPy only, no JAX.

    Args:
      path: of a file that `export` wrote.
      scoring: as in `serve`.

    Raises:
      CheckpointError: there is none, or none that `file_format.read` takes.
      DataError: tables that do not stay finite when they are propagated.
      SettingsError: another scoring.
    """
    contents, file_bytes = read(path)
    return serve(contents, scoring=scoring, file_bytes=file_bytes)


def _in_words(num_bytes: float) -> str:
    return f"{num_bytes / 2**20:.2f} MiB" if num_bytes >= 2**20 else f"{num_bytes / 2**10:.1f} KiB"
