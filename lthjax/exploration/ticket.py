"""A ticket to work with: its masks and tables, recommendations, measurements, comparisons, exports.

    ticket = lthjax.explore(ticket)
    ticket.recommend([user_id], k=10)
    ticket.compare(other).jaccard

Letters: M users, N items, F dimensions, B ids asked for, K places, U users with test items.
"""

import dataclasses
import functools
import html
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lthjax import metric_names
from lthjax.data import resolve
from lthjax.data.split import Split
from lthjax.embeddings import Embeddings
from lthjax.errors import DataError, SettingsError
from lthjax.evaluation import ranking as evaluate
from lthjax.evaluation import verdict as verdicts
from lthjax.evaluation.ranking import RankingMetrics
from lthjax.evaluation.verdict import Verdict
from lthjax.model.backbones import Backbone, mf
from lthjax.pruning import masks as masking
from lthjax.search.named import backbone_of_ticket
from lthjax.search.retrain import retrain
from lthjax.search.tasks import check_lengths, test_task
from lthjax.serving import export as exporting
from lthjax.serving import fold_in as folding
from lthjax.serving.compressed import By, CompressedTicket
from lthjax.serving.ids import Ranked
from lthjax.serving.item_index import ItemIndex, Kind
from lthjax.settings import DataSettings, Settings, SplitSettings, names
from lthjax.tickets import ticket as ticketing
from lthjax.tickets.ticket import Ticket

_OF_DATA = {*names(DataSettings), *names(SplitSettings)}


def explore(ticket: Ticket, data: Any = None, backbone: Backbone | None = None) -> "FoundTicket":
    """A ticket in memory, as those of a run are: to recommend with, to evaluate, to compare.

    Args:
      ticket: of `find_tickets`, `retrain` or `load_ticket`.
      data: what it was found or trained on, as in `find_tickets`; by default what its settings name.
      backbone: that it was found with, where it was given in code.
    """
    split = functools.cache(lambda: resolve.split_of(data, ticket.settings, ticket.fingerprint, "the ticket"))
    return FoundTicket(ticketing.result(ticket).row(), lambda: ticket, split, backbone)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class FoundTicket:
    """A ticket of a run: what its table says is there at once, the arrays are read at the first look at one of them.

    Attributes:
      row: its row of results.csv.
    """

    row: Mapping[str, Any]
    _load: Callable[[], Ticket]
    _split: Callable[[], Split]
    _backbone: Backbone | None = None

    @functools.cached_property
    def ticket(self) -> Ticket:
        """All of it, as `find_tickets` yielded it.

        Raises:
          CheckpointError: it is not there, or damaged.
        """
        return self._load()

    level = property(lambda self: self.row["level"], doc="Prunings so far.")
    sparsity = property(lambda self: self.row["sparsity"], doc="Share of entries pruned.")
    settings = property(lambda self: self.ticket.settings, doc="The settings that it was found with.")
    masks = property(lambda self: self.ticket.masks, doc="Which entries are kept: user [M, F] and item [N, F] bool.")
    start = property(lambda self: self.ticket.start, doc="Layer-0 values before the first step, 0 where pruned.")
    trained = property(lambda self: self.ticket.trained, doc="Layer-0 values of the best epoch, 0 where pruned.")
    metrics = property(
        lambda self: self.ticket.metrics, doc="Means over users of test and, as `valid_...`, validation."
    )
    verdict = property(lambda self: self.ticket.verdict, doc="Against the dense model of its run.")

    @functools.cached_property
    def _final(self) -> Embeddings:
        if backbone_of_ticket(self.ticket, self._backbone) is mf:
            return self.trained  # so that no data are needed
        return exporting.final_embeddings(self.ticket, self._split(), self._backbone)

    @functools.cached_property
    def _serving(self) -> CompressedTicket:
        return exporting.serving(self.ticket, self._split(), backbone=self._backbone)

    @functools.cached_property
    def _propagating(self) -> CompressedTicket:
        """The same, with what LightGCN gives a new user."""
        return dataclasses.replace(self._serving, item_layers=exporting.item_layers(self.ticket, self._split()))

    def embeddings(self) -> Embeddings:
        """Final embeddings, whose inner products are the scores: MF's table, LightGCN's propagated layers."""
        return self._final

    def kept_per_row(self) -> Embeddings:
        """Entries kept of every user [M] and of every item [N]."""
        return masking.kept_per_row(self.masks)

    def compare(self, other: "FoundTicket | Ticket") -> masking.Overlap:
        """How much of the masks two tickets have in common.

        Raises:
          DataError: they are of different sizes.
        """
        own, others = ([part.shape for part in masks] for masks in (self.masks, other.masks))
        if own != others:
            raise DataError(f"wanted a ticket with masks of the same shapes, {own}; got {others}.")
        return masking.overlap(self.masks, other.masks)

    def retrain(self, data: Any = None, **changes: Any) -> Ticket:
        """Train it again from where it started, as `lthjax.retrain`; by default on what it was found on.

        `explore` makes of the result what this is.
        """
        if data is None and not changes.keys() & _OF_DATA:
            data = self._split()
        return retrain(self.ticket, data, **{"backbone": self._backbone} | changes)

    def evaluate(
        self,
        data: Any = None,
        ks: Any = None,
        *,
        metrics: str | Iterable[str] | None = None,
        at: str | int | Iterable[int] | None = None,
        **unknown: Any,
    ) -> RankingMetrics:
        """Recall, NDCG or other metrics of every user with test items; `.means()` are the published numbers.

        Args:
          data: another split of the same users and items, whose test part counts and whose other parts are left out of
            the ranking (LightGCN propagates over its training part); by default the ticket's own.
          ks: the older name of `at`.
          metrics: as the setting, "recall,map,coverage"; by default the ticket's own.
          at: list lengths, as the setting: "5,20", 5 or (5, 20); by default the ticket's own.
          **unknown: refused, with the right name.

        Raises:
          DataError: the data do not have the ticket's users and items.
          SettingsError: an unknown metric or name, or a length that no list can have.
        """
        if unknown:
            name, value = next(iter(unknown.items()))
            hint = f"at={value!r}" if name in ("k", "K", "top_k", "topk", "cutoff") else "at=20 or metrics='recall,map'"
            raise SettingsError(f"evaluate: wanted data, metrics or at, such as {hint}; got {name}={value!r}.")
        if ks is not None and at is not None:
            raise SettingsError(f"evaluate: wanted at alone, whose older name is ks; got at={at!r} and ks={ks!r}.")
        at, split, final = ks if at is None else at, self._split(), self._final
        chosen = self.settings.metric_names if metrics is None else metric_names.metrics_of(metrics, "metrics")
        lengths = self.settings.lengths if at is None else metric_names.lengths_of(at, "at")
        if data is not None:
            split = _other(split, data, self.settings)
            final = exporting.final_embeddings(self.ticket, split, self._backbone)
        check_lengths(lengths, split.num_items)
        return evaluate.evaluate(final, test_task(split, self.settings, chosen), lengths, metrics=chosen)

    def fold_in(self, interactions: Any, side: folding.Side = "user", **options: Any) -> folding.Folded:
        """Give new users, or items, an embedding inside the ticket; as `lthjax.fold_in`, on the data of the run."""
        return folding.fold_in(self.ticket, self._split(), interactions, side, **options)

    def recommend(
        self, user_ids: Any, k: int = 20, exclude_seen: bool = True, items: Any = None, candidates: Any = None
    ) -> Ranked:
        """The k best items for each user, by original ids; as `CompressedTicket.recommend`."""
        return self._serving.recommend(user_ids, k, exclude_seen, items, candidates)

    def recommend_users(self, item_ids: Any, k: int = 20, exclude_seen: bool = True, users: Any = None) -> Ranked:
        """The k best users for each item, by original ids; as `CompressedTicket.recommend_users`."""
        return self._serving.recommend_users(item_ids, k, exclude_seen, users)

    def recommend_for_basket(
        self, baskets: Any, k: int = 20, exclude_basket: bool = True, items: Any = None, by: By = "ridge"
    ) -> Ranked:
        """The k best items for each basket of items without a user; as `CompressedTicket.recommend_for_basket`."""
        served = self._propagating if by == "propagation" else self._serving
        return served.recommend_for_basket(baskets, k, exclude_basket, items, by)

    def similar_items(self, item_ids: Any, k: int = 20) -> Ranked:
        """The k items with the highest cosine to each item, itself left out, by original ids."""
        return self._serving.similar_items(item_ids, k)

    def similar_users(self, user_ids: Any, k: int = 20) -> Ranked:
        """The k users with the highest cosine to each user, themselves left out, by original ids."""
        return self._serving.similar_users(user_ids, k)

    def index(self, kind: Kind = "faiss", **options: Any) -> ItemIndex:
        """The items as an index of FAISS or hnswlib, to be searched by original ids; as `CompressedTicket.index`."""
        return self._serving.index(kind, **options)

    def export(self, path: str | Path, **options: Any) -> Path:
        """Write one file: for `lthjax.load_compressed`, or as safetensors or SciPy's; options as in `lthjax.export`."""
        return exporting.export(self.ticket, self._split(), path, backbone=self._backbone, **options)

    def __repr__(self) -> str:
        """One line, of the table alone."""
        return f"FoundTicket({self._title()})"

    def _title(self) -> str:
        scores = metric_names.in_words(self.row)
        kept = f"{self.row['num_kept']:,} entries kept"
        return f"level {self.level}, {self.sparsity:.1%} pruned, {kept}, {scores}, {self.row['verdict']}"

    def _repr_html_(self) -> str:
        """The line, for notebooks."""
        return f"<b>Ticket</b> {html.escape(self._title())}"


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LevelOfSeeds(FoundTicket):
    """A level of runs that differ in their seed: row, metrics and verdict are over all seeds.

    Whatever needs one table (masks, weights, recommendations, exports, evaluations) is the first seed's, at every
    level, so that levels can be compared; `seeds[3]` is the same level of seed 3.

    Attributes:
      seeds: seed -> its ticket, ascending.
    """

    seeds: Mapping[int, FoundTicket] = dataclasses.field(default_factory=dict)

    metrics = property(
        lambda self: {name: self.row[name] for name in next(iter(self.seeds.values())).metrics},
        doc="Means over users and seeds of test and, as `valid_...`, validation.",
    )
    verdict = property(
        lambda self: Verdict(*(self.row[name] for name in verdicts.DENSE.columns())),
        doc="Against the dense models of all seeds.",
    )

    def _title(self) -> str:
        first, *_ = self.seeds
        return f"{super()._title()}; mean of {len(self.seeds)} seeds, arrays of seed {first}"


def _other(own: Split, data: Any, settings: Settings) -> Split:
    """Another split, with the same users and items."""
    _, split = resolve.settle(data, settings, {})
    for what in ("user_ids", "item_ids"):
        wanted, came = getattr(own, what), getattr(split, what)
        if not np.array_equal(wanted, came):
            raise DataError(
                f"{split.name}: wanted the {what.removesuffix('_ids')}s of {own.name}, {len(wanted):,} of them; "
                f"got {len(came):,}, or others."
            )
    return split
