"""A ticket as one small file that serves: recommendations and neighbours. NumPy and SciPy only, no JAX.

The file is described in `file_format`.

Letters: M users, N items, F dimensions, B queries, K items per list.
"""

import dataclasses
import functools
import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from scipy import sparse

from lthjax import metric_names
from lthjax.data import id_lists
from lthjax.data.id_lists import IdLists
from lthjax.errors import DataError, SettingsError
from lthjax.serving import baskets as folding
from lthjax.serving import ids, item_index, scipy_lightgcn, top_k
from lthjax.serving.file_format import Contents, Tables, check, read
from lthjax.serving.ids import Ranked
from lthjax.serving.item_index import ItemIndex
from lthjax.serving.top_k import Scoring

By = Literal["ridge", "propagation"]


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
    user_counts: np.ndarray | None = None  # [M] training interactions of each user; None where the file does not tell
    item_layers: np.ndarray | None = None  # [N, F] of LightGCN, see `baskets.propagate`; None where layer 0 is unknown

    def embeddings(self) -> Tables:
        """Final embeddings as dense float32 arrays."""
        return Tables(*(x.toarray() if sparse.issparse(x) else x for x in (self.user, self.item)))

    def recommend(
        self, user_ids: Any, k: int = 20, exclude_seen: bool = True, items: Any = None, candidates: Any = None
    ) -> Ranked:
        """The best items for some users; of equal scores the item with more training interactions, then the lower id.

        A user whose row has no entry scores all items alike. Its list is the most popular items that it has not seen,
        and `is_popularity` of the result says so.

        Args:
          user_ids: [B] original ids, or a single one.
          k: list length.
          exclude_seen: leave out the user's training and validation items.
          items: original ids of the only items to rank, for all users; None ranks all.
          candidates: the only items to rank, for each user a list of its own: B lists of original ids.

        Raises:
          DataError: unknown ids, another number of lists, or `exclude_seen` for a file without seen items.
          SettingsError: k below 1, more than `top_k.MOST_RESULTS` results, or both `items` and `candidates`.
        """
        seen = top_k.checked_seen(self.seen, exclude_seen)
        rows = ids.rows_of(user_ids, self.user_ids, "user")
        if items is not None and candidates is not None:
            raise SettingsError("wanted items, for all users, or candidates, for each its own; got both.")
        if items is not None:
            among = ids.rows_of(items, self.item_ids, "item")
        else:
            among = None if candidates is None else ids.lists_of(candidates, self.item_ids, "item")
        table = self.item if candidates is None else self._item_rows
        ranked = {"seen": seen, "candidates": among, "counts": self.item_counts, "scoring": self.scoring}
        best = top_k.recommend(self.user, table, rows, k, **ranked)
        return ids.named(best, self.user_ids[rows], self.item_ids, _without_entries(self.user[rows]))

    def recommend_users(self, item_ids: Any, k: int = 20, exclude_seen: bool = True, users: Any = None) -> Ranked:
        """The users with the highest scores <user, item> for some items: whom to show them.

        Of equal scores the user with more training interactions comes first, then the lower id; where the file has no
        training items, the lower id. An item whose row has no entry scores all users alike, and `is_popularity` of the
        result says so.

        Args:
          item_ids: [B] original ids, or a single one.
          k: list length.
          exclude_seen: leave out the users who have the item in their training or validation part.
          users: original ids of the only users to rank; None ranks all.

        Raises:
          DataError, SettingsError: as `recommend`.
        """
        top_k.checked_seen(self.seen, exclude_seen)
        rows = ids.rows_of(item_ids, self.item_ids, "item")
        best = top_k.recommend(
            self._item_rows,
            self._user_columns,
            rows,
            k,
            seen=self._users_of_items if exclude_seen else None,
            candidates=None if users is None else ids.rows_of(users, self.user_ids, "user"),
            counts=self.user_counts,
            scoring=self.scoring,
        )
        return ids.named(best, self.item_ids[rows], self.user_ids, _without_entries(self._item_rows[rows]))

    def recommend_for_basket(
        self, baskets: Any, k: int = 20, exclude_basket: bool = True, items: Any = None, by: By = "ridge"
    ) -> Ranked:
        """The best items for somebody who is no user of the ticket: only several items are known.

        A row for each basket is made from its items, and ranked as a user's. Items that nobody has in training say
        nothing of it; of a basket with no others the list is the most popular items, and `is_popularity` says so. An
        item that stands twice in a basket counts once. Scores compare within a list only.

        Args:
          baskets: B lists of original ids, none of them empty.
          k: list length.
          exclude_basket: leave out the items of the basket itself.
          items: original ids of the only items to rank; None ranks all.
          by: "ridge" finds the row by least squares, from the final embeddings of any model (`baskets.ridge`);
            "propagation" is what LightGCN gives a new user (`baskets.propagate`), of tickets in memory and of files
            with `store="layer0"`.

        Returns:
          As `recommend`; `asked` is the number of the basket.

        Raises:
          DataError: unknown ids, or an empty basket.
          SettingsError: as `recommend`, or propagation without LightGCN's layer 0.
        """
        if by not in get_args(By):
            raise SettingsError(f"by: wanted ridge or propagation; got {by!r}.")
        if by == "propagation" and self.item_layers is None:
            raise SettingsError(
                "by propagation: wanted LightGCN's layer-0 table, in memory or exported with store='layer0'; "
                "got final embeddings alone. by='ridge' takes them."
            )
        lists = ids.lists_of(baskets, self.item_ids, "item")
        empty = np.flatnonzero(np.diff(lists.starts) == 0)
        if len(empty):
            raise DataError(
                f"baskets: wanted an item in each; got {len(empty):,} empty, the first is number {empty[0]}."
            )
        known = _without(lists, self.item_counts == 0) if self.item_counts.any() else lists
        if by == "ridge":
            rows = folding.ridge(self._item_rows, known, self._sums)
        else:
            rows = folding.propagate(self.item_layers, known, self.item_counts)
        best = top_k.recommend(
            rows,
            self.item,
            None,
            k,
            seen=lists if exclude_basket else None,
            candidates=None if items is None else ids.rows_of(items, self.item_ids, "item"),
            counts=self.item_counts,
            scoring=self.scoring,
        )
        return ids.named(best, np.arange(len(rows)), self.item_ids, _without_entries(rows))

    def index(self, kind: item_index.Kind = "faiss", **options: Any) -> ItemIndex:
        """The items as an index of another library, by inner product: FAISS, or hnswlib's graph.

        Args:
          kind: "faiss", exact unless `factory` says otherwise; "hnsw", approximate and fast for many items.
          options: of `item_index.faiss_index` or `item_index.hnsw_index`.

        Raises:
          SettingsError: another kind, options that it does not take, or a package that is not installed.
        """
        ids_and_items = self.user_ids, self.item_ids, self.item_counts, self.seen
        return item_index.build(item_index.Searched(*self.embeddings(), *ids_and_items), kind, **options)

    @functools.cached_property
    def _item_rows(self) -> Any:
        return sparse.csr_array(self.item) if sparse.issparse(self.item) else self.item

    @functools.cached_property
    def _user_columns(self) -> Any:
        return sparse.csc_array(self.user) if sparse.issparse(self.user) else self.user

    @functools.cached_property
    def _users_of_items(self) -> IdLists:
        return id_lists.from_pairs(self.seen.pairs()[:, ::-1], len(self.item_ids))

    @functools.cached_property
    def _sums(self) -> folding.Sums:
        return folding.sums_of(self._item_rows)

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
        arrays += [array for array in (self.user_counts, self.item_layers) if array is not None]
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
    tables, train, counts, item_layers = contents.tables, contents.train, contents.item_counts, None
    if spread := contents.facts.get("propagate"):
        with np.errstate(over="ignore", invalid="ignore"):
            *tables, item_layers = scipy_lightgcn.lightgcn(*tables, train.pairs(), spread["layers"], spread["combine"])
            tables = Tables(*tables)
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
        user_counts=None if train is None else np.diff(train.starts),
        item_layers=item_layers,
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


def _without_entries(rows: Any) -> np.ndarray:
    """[B] bool, of [B, F] rows."""
    return (rows != 0).sum(axis=1) == 0


def _without(lists: IdLists, left_out: np.ndarray) -> IdLists:
    """The lists without some ids; `left_out` [N] bool."""
    pairs = lists.pairs()
    return id_lists.from_pairs(pairs[~left_out[pairs[:, 1]]], lists.num_rows)


def _in_words(num_bytes: float) -> str:
    return f"{num_bytes / 2**20:.2f} MiB" if num_bytes >= 2**20 else f"{num_bytes / 2**10:.1f} KiB"
