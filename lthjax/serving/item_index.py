"""The items of a ticket as an index of FAISS or hnswlib, by inner product, and a search by original ids.

    found = lthjax.load_compressed("ticket.npz").index("hnsw")
    found.search([12, 45], k=10)  # ids in and out, without what they have seen
    found.index                   # hnswlib's own: save_index, knn_query, ...; its labels are rows of found.item_ids

Letters: M users, N items, F dimensions, B queries, K items per list.
"""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from lthjax.data import id_lists
from lthjax.data.id_lists import IdLists
from lthjax.errors import SettingsError
from lthjax.serving import ids, optional, top_k
from lthjax.serving.ids import Ranked
from lthjax.serving.top_k import Best

Kind = Literal["faiss", "hnsw"]

_USERS_PER_BLOCK = 256
_LABELS_PER_BLOCK = 2**22  # of all its users: 48 MiB with their scores
_DEEPER = 4  # times as many items are fetched where a list may not be all
_ROUNDING = 1e-5  # between the scores of an index and ours, of the largest


class Searched(NamedTuple):
    """What is searched, and for whom."""

    user: np.ndarray  # [M, F] float32 final embeddings
    item: np.ndarray  # [N, F]
    user_ids: np.ndarray  # [M] original ids
    item_ids: np.ndarray  # [N]
    item_counts: np.ndarray  # [N] training interactions
    seen: IdLists | None  # M rows of training and validation items


@dataclasses.dataclass(frozen=True, eq=False)
class ItemIndex:
    """An index of the items, and the ids that go with it. From `CompressedTicket.index` or `FoundTicket.index`."""

    kind: Kind
    index: Any = dataclasses.field(repr=False)  # faiss.Index or hnswlib.Index; its labels are rows of `searched.item`
    is_exact: bool
    searched: Searched = dataclasses.field(repr=False)
    _nearest: Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]] = dataclasses.field(repr=False)

    item_ids = property(
        lambda self: self.searched.item_ids, doc="[N] original ids: label n of the index is item_ids[n]."
    )

    def search(self, user_ids: Any, k: int = 20, exclude_seen: bool = True) -> Ranked:
        """The best items for some users, as `CompressedTicket.recommend`: the same where the index is exact.

        The index is asked for as many more items as a user has seen. What it finds is scored and ordered anew, so that
        of equal scores the item with more training interactions comes first. Users whose row has no entry get the most
        popular items, without the index. A list of an approximate index may lack items that belong into it.

        Args:
          user_ids: [B] original ids, or a single one.
          k: list length.
          exclude_seen: leave out the user's training and validation items.

        Raises:
          DataError: unknown ids, or `exclude_seen` for a file without seen items.
          SettingsError: k out of its range, or a graph that does not reach as many items.
        """
        user, item, known_users, known_items, counts, _ = self.searched
        seen = top_k.checked_seen(self.searched.seen, exclude_seen)
        rows = ids.rows_of(user_ids, known_users, "user")
        top_k.check_results(len(rows), k, len(item))
        is_popularity = ~(user[rows] != 0).any(axis=1)
        num_seen = np.zeros(len(rows), np.int64) if seen is None else np.diff(seen.starts)[rows]
        width = int(min(k, (len(item) - num_seen).max(initial=0)))
        best = Best(np.full((len(rows), width), -1, np.int64), np.full((len(rows), width), -np.inf, np.float32))

        def keep(places: np.ndarray, found: Best) -> None:
            best.rows[places, : found.rows.shape[1]] = found.rows
            best.scores[places, : found.rows.shape[1]] = found.scores

        def fill(places: np.ndarray, depth: int) -> None:
            size = max(1, _LABELS_PER_BLOCK // depth)
            for part in (places[first : first + size] for first in range(0, len(places), size)):
                found, is_whole = self._search(rows[part], k, depth, seen)
                keep(part[is_whole], Best(found.rows[is_whole], found.scores[is_whole]))
                if not is_whole.all():
                    fill(part[~is_whole], min(_DEEPER * depth, len(item)))

        places = np.flatnonzero(is_popularity)
        keep(places, top_k.recommend(user, item, rows[places], k, seen=seen, counts=counts, scoring="dense"))
        places = np.flatnonzero(~is_popularity)
        places = places[np.argsort(num_seen[places], kind="stable")]  # so that a block fetches about what each needs
        for first in range(0, len(places) if width else 0, _USERS_PER_BLOCK):
            block = places[first : first + _USERS_PER_BLOCK]
            fill(block, min(k + int(num_seen[block].max()) + 1, len(item)))  # one more, to see whether ties go on
        return ids.named(best, known_users[rows], known_items, is_popularity)

    def _search(self, rows: np.ndarray, k: int, depth: int, seen: IdLists | None) -> tuple[Best, np.ndarray]:
        """The best of the `depth` items that the index finds; [B] bool, can no other item belong into the list?"""
        user, item = self.searched.user, self.searched.item
        labels, scores = self._nearest(user[rows], depth)
        is_there = labels >= 0
        pairs = np.stack([np.nonzero(is_there)[0], labels[is_there]], axis=1)
        lists = id_lists.from_pairs(pairs, len(rows))
        best = top_k.recommend(user, item, rows, k, seen=seen, candidates=lists, counts=self.searched.item_counts)
        if not self.is_exact or depth == len(item):
            return best, np.ones(len(rows), bool)
        if best.rows.shape[1] < k:
            return best, np.zeros(len(rows), bool)
        return best, best.scores[:, -1] > scores[:, -1] + _ROUNDING * np.abs(scores).max(axis=1)


def build(searched: Searched, kind: str, **options: Any) -> ItemIndex:
    """An index of some kind.

    Args:
      searched: what is searched.
      kind: "faiss" or "hnsw".
      options: of `faiss_index` or `hnsw_index`.

    Raises:
      SettingsError: another kind, options that it does not take, or a package that is not installed.
    """
    if kind not in get_args(Kind):
        raise SettingsError(f"kind: wanted faiss or hnsw; got {kind!r}.")
    make = _MAKERS[kind]
    known = list(inspect.signature(make).parameters)[1:]
    if unknown := options.keys() - set(known):
        raise SettingsError(f"index {kind}: wanted the options {', '.join(known)}; got {', '.join(sorted(unknown))}.")
    if not len(searched.item):
        raise SettingsError("index: wanted items; there are none.")
    return make(searched, **options)


def faiss_index(searched: Searched, *, factory: str = "Flat") -> ItemIndex:
    """A FAISS index with the metric inner product.

    Args:
      searched: what is searched.
      factory: what `faiss.index_factory` takes: "Flat" compares with every item, "IVF256,Flat", "HNSW32", "PQ8" and
        others with some; those that learn do so from the items.

    Raises:
      SettingsError: FAISS is not installed, or cannot make such an index of these items.
    """
    faiss = optional.package("faiss", "faiss-cpu", "faiss")
    if not isinstance(factory, str):
        raise SettingsError(f"factory: wanted text, as faiss.index_factory takes it; got {factory!r:.60}.")
    item = np.ascontiguousarray(searched.item, np.float32)
    try:
        index = faiss.index_factory(item.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        index.train(item)
        index.add(item)
    except RuntimeError as error:  # the only kind that FAISS raises
        reason = str(error).splitlines()[0].rpartition(": ")[2]
        raise SettingsError(
            f"factory: wanted one that FAISS makes of {item.shape} items; got {factory!r} ({reason})."
        ) from error

    def nearest(queries: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        scores, labels = index.search(np.ascontiguousarray(queries, np.float32), depth)
        return labels, scores

    return ItemIndex("faiss", index, isinstance(index, faiss.IndexFlat), searched, nearest)


def hnsw_index(
    searched: Searched,
    *,
    M: int = 16,
    ef_construction: int = 200,
    ef: int = 100,
    seed: int = 100,
    threads: int = 1,
) -> ItemIndex:
    """An hnswlib graph in the space "ip" (Malkov and Yashunin 2018); the options have hnswlib's names.

    Args:
      searched: what is searched.
      M: links of an item.
      ef_construction: items that are looked at to find the links of a new one.
      ef: items that are looked at in a search, at least as many as it returns; more is better and slower.
      seed: of the items' levels.
      threads: that build and search; with more than one the graph is another each time.

    Raises:
      SettingsError: hnswlib is not installed, or a number out of its range.
    """
    hnswlib = optional.package("hnswlib", "hnswlib")
    numbers = {
        "M": (M, 2),
        "ef_construction": (ef_construction, 1),
        "ef": (ef, 1),
        "seed": (seed, 0),
        "threads": (threads, 1),
    }
    for name, (number, least) in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or not least <= number < 2**31:
            raise SettingsError(f"{name}: wanted a whole number from {least}; got {number!r}.")
    item = np.ascontiguousarray(searched.item, np.float32)
    index = hnswlib.Index("ip", item.shape[1])
    index.init_index(len(item), M=M, ef_construction=ef_construction, random_seed=seed)
    index.add_items(item, np.arange(len(item)), num_threads=threads)
    index.set_ef(ef)

    def nearest(queries: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        try:
            labels, distances = index.knn_query(np.ascontiguousarray(queries, np.float32), depth, num_threads=threads)
        except RuntimeError as error:  # "Cannot return the results in a contiguous 2D array"
            raise SettingsError(
                f"hnsw: wanted {depth:,} of {len(item):,} items (k and those seen); its graph reaches fewer. "
                f"Take a smaller k, a larger M than {M}, or kind='faiss'."
            ) from error
        return labels.astype(np.int64), 1 - distances

    return ItemIndex("hnsw", index, False, searched, nearest)


_MAKERS = {"faiss": faiss_index, "hnsw": hnsw_index}
