"""Every choice of a run, as one frozen dataclass of groups: the only schema of command lines, run folders, tickets."""

import dataclasses
import itertools
import math
import numbers
import textwrap
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from lthjax import metric_names
from lthjax.errors import SettingsError, nearest
from lthjax.field_docs import field_docs


@dataclasses.dataclass(frozen=True, kw_only=True)
class PresetSettings:
    """Where the settings start from."""

    preset: str = "none"
    """Start from published settings: paper_text, paper_code, lightgcn_pytorch, lightgcn_tf, recbole or bars_mf; flags
    win. Without one, --model lightgcn starts from the preset lightgcn."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which interactions are read, and how."""

    data: str | None = "ml-latest-small"  # None in tickets whose data were given in code
    """Bundled or known name; path of a file, or of a folder with train.txt, valid.txt and test.txt, or parquet files;
    or 'logs/*.csv', quoted, for files that are one log."""
    format: Literal["auto", "adjacency", "pairs", "inter", "csv"] = "auto"
    """Lines "user item item ...", lines "user item [weight]" or .npy, RecBole atomic file, table; auto tells which."""
    columns: str | None = None
    """User, item, rating and time column of a table, by name or place: "userId,movieId,rating" or "0,1,,3"."""
    min_rating: float | None = None
    """Keep interactions with at least this rating (unit of the file); without it every row is a positive."""
    event: str | None = None
    """Keep rows with these events: "purchase,addtocart"; "behavior=buy" where the column has no known name."""
    dedupe: Literal["merge", "last", "first"] = "merge"
    """Of several rows of one pair: the first time and the sum of values (merge), or time and value of one row."""
    core: str | None = None
    """Keep users and items with so many interactions, until all have them: "5", or "5,10" for users and items."""
    items_after_users: bool = False
    """Item numbers go on where user numbers end, as in the files of the paper's authors and of MMGCN."""
    encoding: str | None = None
    """Encoding of text that is not UTF-8, such as latin-1 or cp1252; UTF-16 is told by its byte order mark."""


SplitMethod = Literal["auto", "random", "user-time", "time", "leave-one-out", "leave-one-out-random", "files", "cut"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitSettings:
    """How the interactions become train, validation and test part."""

    split: SplitMethod = "auto"
    """auto: a folder's own train, valid and test parts where it has all three, else random. random: per user, at any
    rate. user-time: each user's last ones are tested. time: all that happens after a moment is. leave-one-out: each
    user's last one is tested, the one before validates (-random: any two). files: the parts as they are. cut: their
    test part, validation cut from train."""
    ratios: str = "0.7,0.1,0.2"
    """Shares of train, validation and test part; for random, user-time, time and cut."""
    split_times: str | None = None
    """Where validation and test begin with --split time: "2015-01-01,2016-01-01"; without it --ratios tell."""
    split_seed: int = 0
    """Seed of the split; apart from --seed, so that runs with several seeds are tested on the same items."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The table and the backbone."""

    model: Literal["mf", "lightgcn"] = "mf"
    """Backbone: matrix factorization, or LightGCN."""
    dim: int = 32
    """Numbers per user and per item (F)."""
    layers: int = 3
    """Propagation layers of LightGCN (K); MF has none."""
    combine: Literal["mean", "sum"] = "mean"
    """LightGCN's final embedding: mean or sum of its layers."""
    init: Literal["xavier", "xavier-each", "xavier-normal-each", "normal-0.1", "normal-0.01", "normal-1"] = "xavier"
    """First values: Xavier over the joint user-item table or over each of the two, or N(0, std^2)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PruningSettings:
    """How much is pruned, of what, and where a ticket starts."""

    levels: int = 14
    """Prunings after the dense level 0; the last ticket has sparsity 1 - (1 - prune-rate)^levels."""
    prune_rate: float = 0.1
    """Share of the kept entries that each pruning takes, in (0, 1)."""
    sparsities: str | None = None
    """Sparsity of each level by itself, "0.5,0.75": then --levels and --prune-rate say nothing."""
    search: Literal["imp", "one-shot", "short", "early", "gradual", "dynamic"] = "imp"
    """How masks are found. imp: every level is trained to its end and pruned, as in the paper. one-shot: the dense
    model is, in one jump. short: a few epochs a level. early: one jump after the first epochs. gradual: one run that
    prunes as it goes. dynamic: sparse from the start, drops and grows. The last four cost 1 to 20% of imp."""
    search_epochs: int = 0
    """Epochs that short trains each of its levels, or early, gradual and dynamic in all; 0 = as each does best."""
    prune_parent: Literal["previous", "dense"] = "previous"
    """Pruned is the ticket before, step by step; or the dense model: then imp is one-shot, by its older name."""
    prune_by: Literal["magnitude", "movement", "random", "random-by-degree"] = "magnitude"
    """Which entries fall: the smallest trained weights; those that training moved least from where they started; any;
    or any, so that rows keep entries in proportion to their training interactions."""
    prune_scope: Literal["joint", "table", "row", "user", "item"] = "joint"
    """Among which entries the smallest are sought: users and items together, each table, each row, one table only."""
    min_per_row: int = 0
    """Entries that every row keeps, with --prune-scope row."""
    prune_from: Literal["best", "last"] = "best"
    """Weights that are pruned, and gone on from: of the best epoch, or of the last."""
    prune_count: Literal["exact", "threshold"] = "exact"
    """round(rate n) entries of n, ties by index; or the paper's code's threshold, which takes n + 1 and all ties."""
    rewind: str = "init"
    """Start of a ticket: init = first values, epoch:K = as after K epochs, reinit = fresh, none or lr = as trained."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How long a level trains."""

    epochs: int = 600
    """Epochs a level trains at most."""
    patience: int = 60
    """Epochs without a better selection value after which a level stops; 0 = never."""
    eval_every: int = 5
    """Epochs between two evaluations."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepSettings:
    """What a training step does."""

    batch_size: int = 2048
    """Triples (user, positive, negative) a step."""
    optimizer: Literal["adam", "adamw", "sgd", "lion", "adagrad"] = "adam"
    """Optax's, as it comes; --learning-rate is its step size, and each wants one of its own: a third of Adam's
    or less for lion, far more for sgd and adagrad."""
    learning_rate: float = 0.003
    """Step size of --optimizer."""
    loss: Literal["bpr", "sampled-softmax", "cosine-bpr"] = "bpr"
    """bpr: softplus of the difference of inner products. sampled-softmax (SSM): softmax of the positive among the
    negatives, cosines over --temperature. cosine-bpr: bpr on these. The last two suit LightGCN better than MF."""
    temperature: float = 0.2
    """What cosines are divided by, with --loss sampled-softmax or cosine-bpr; small ones look at hard negatives."""
    negatives: int = 1
    """Negatives of each positive; bpr takes the mean over them. A step's time grows with them."""
    negative_sampling: Literal["uniform", "popularity"] = "uniform"
    """How negatives are drawn among the items that a user has not: alike, or in proportion to degree^0.75, which leaves
    out items that nobody has in training; sampled-softmax corrects for it (log q), bpr and cosine-bpr do not."""
    l2: float = 0.01
    """Weight of the L2 term, over the batch size."""
    l2_form: Literal["squared", "norm"] = "squared"
    """Half the squares of the batch's rows; or their unsquared norm, as RecBole has it."""
    l2_on: Literal["layer0", "propagated"] = "layer0"
    """Rows under L2: the table's, or LightGCN's final ones."""
    sampler: Literal["interactions", "users", "distinct-users"] = "interactions"
    """An epoch is every training interaction once, as many users with replacement, or batches of different users."""
    weights: Literal["none", "log", "linear"] = "none"
    """Weight of each interaction in the loss by its value (count, watch ratio): 1 + log(1 + value), or the value."""
    dislikes: bool = False
    """Rows below --min-rating are sampled as negatives first: every second negative of a user who has any."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """What chooses the best epoch, and what is ranked."""

    selection: Literal["valid", "test"] = "valid"
    """Part whose Recall@20 (or --metrics) chooses the best epoch; test only to match published numbers: it flatters."""
    test_mask: Literal["train+valid", "train"] = "train+valid"
    """Items left out of the ranking at test time."""
    metrics: str = "recall,ndcg"
    """What is measured, by commas; the first, at the first length, chooses the best epoch and judges. Of each user:
    recall, ndcg, precision, hit, mrr, map. Of all lists together: coverage, popularity, gini (popularity bias)."""
    at: str = "20"
    """Lengths of the recommended lists, "5,10,20"."""
    evaluate_users: int = 0
    """Users, a fixed random sample, whose lists choose the best epoch, where ranking takes long; 0 = all. What is
    reported at the end is of all users."""


# Fields are collected from the last base to the first: this order is that of the groups above.
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(
    EvaluationSettings,
    StepSettings,
    FitSettings,
    PruningSettings,
    ModelSettings,
    SplitSettings,
    DataSettings,
    PresetSettings,
):
    """What is trained, on what, and how it is pruned. Checked when made; see `check` for the ranges."""

    seed: int = 0
    """Seed of first values, batches and random pruning."""

    def __post_init__(self):
        for field in dataclasses.fields(Settings):
            value = getattr(self, field.name)
            if isinstance(value, numbers.Integral) and not isinstance(value, bool | int):
                object.__setattr__(self, field.name, int(value))  # NumPy's whole numbers are welcome
        object.__setattr__(self, "metrics", ",".join(metric_names.metrics_of(self.metrics)))  # one way to write them
        object.__setattr__(self, "at", ",".join(map(str, metric_names.lengths_of(self.at))))
        check(self)

    @property
    def num_levels(self) -> int:
        """Prunings after the dense level."""
        return self.levels if self.sparsities is None else len(self.schedule)

    @property
    def schedule(self) -> tuple[float, ...]:
        """`sparsities` as numbers; empty where a constant rate is used."""
        return () if self.sparsities is None else tuple(float(part) for part in self.sparsities.split(","))

    @property
    def split_ratios(self) -> tuple[float, ...]:
        """`ratios` as numbers."""
        return tuple(float(part) for part in self.ratios.split(","))

    @property
    def core_sizes(self) -> tuple[int, int] | None:
        """`core` as least interactions of a user and of an item."""
        if self.core is None:
            return None
        sizes = tuple(int(part) for part in self.core.split(","))
        return sizes if len(sizes) > 1 else sizes * 2

    @property
    def metric_names(self) -> tuple[str, ...]:
        """`metrics` by name."""
        return tuple(self.metrics.split(","))

    @property
    def lengths(self) -> tuple[int, ...]:
        """`at` as numbers."""
        return tuple(map(int, self.at.split(",")))

    @property
    def main_metric(self) -> str:
        """The metric that chooses the best epoch and that verdicts are about, "recall@20"."""
        return f"{self.metric_names[0]}@{self.lengths[0]}"

    @property
    def search_name(self) -> str:
        """Which search the settings mean: `prune_parent` dense is one-shot."""
        return "one-shot" if self.prune_parent == "dense" else self.search

    @property
    def rewind_epoch(self) -> int | None:
        """K of `epoch:K`, else None."""
        return int(self.rewind.removeprefix("epoch:")) if self.rewind.startswith("epoch:") else None


def _documented() -> str:
    """The docstring of `Settings` and the text of every field, for `help(lthjax.Settings)`."""
    layout = {"initial_indent": "    ", "subsequent_indent": "    ", "break_on_hyphens": False}
    docs = field_docs(Settings)
    texts = [
        f"{field.name} (default {field.default!r}):\n{textwrap.fill(docs.get(field.name, ''), 100, **layout)}"
        for field in dataclasses.fields(Settings)
    ]
    return "\n\n".join([Settings.__doc__ or "", *texts])


Settings.__doc__ = _documented()

MOST_SEEDS = 1_000  # of one call: each is a run with a folder of its own
REWIND_NAMES = ("init", "reinit", "none", "lr")
_RANGES: dict[str, tuple[int, int | None]] = {  # whole numbers: least and most
    "dim": (1, None),
    "layers": (0, 16),
    "levels": (0, None),
    "search_epochs": (0, None),
    "min_per_row": (0, None),
    "epochs": (1, None),
    "patience": (0, None),
    "eval_every": (1, None),
    "evaluate_users": (0, None),
    "batch_size": (1, 2**24),
    "negatives": (1, 2**16),
    "split_seed": (0, 2**31 - 1),
    "seed": (0, 2**31 - 1),
}


def names(group: type) -> tuple[str, ...]:
    """The settings of a group."""
    return tuple(field.name for field in dataclasses.fields(group))


def values(settings: Any, group: type) -> dict[str, Any]:
    """What the settings say of a group, by name."""
    return {name: getattr(settings, name) for name in names(group)}


def from_record(record: Mapping[str, Any]) -> Settings:
    """Settings as JSON has them; names that this version does not know are left out.

    Data that were given in code have the name None, or, as written by older versions, one in angle brackets.
    """
    known = {name: record[name] for name in names(Settings) if name in record}
    if str(known.get("optimizer")).startswith("given, "):  # older versions have its fingerprint there
        del known["optimizer"]
    if str(known.get("data")).startswith("<"):
        known["data"] = None
    return Settings(**known)


# What people give as numbers, or a list of them.
_AS_TEXT = {"sparsities": "0.5,0.75", "ratios": "0.7,0.1,0.2", "core": "5,10", "at": "10,20", "metrics": "recall,ndcg"}


def check(settings: Settings) -> None:
    """Raise SettingsError for the first setting that is out of its range."""
    for field in dataclasses.fields(Settings):
        value = getattr(settings, field.name)
        if get_origin(field.type) is Literal and value not in get_args(field.type):
            wanted = get_args(field.type)
            raise SettingsError(f"{flag(field.name)}: wanted one of {', '.join(wanted)}; {_came(value, wanted)}.")
        if field.type is int and (isinstance(value, bool) or not isinstance(value, int)):
            raise SettingsError(f"{flag(field.name)}: wanted a whole number; got {value!r}.")
        if field.type in (str, str | None) and not isinstance(value, field.type):
            example = f", such as {_AS_TEXT[field.name]!r}" if field.name in _AS_TEXT else ""
            raise SettingsError(f"{flag(field.name)}: wanted text{example}; got {value!r}.")
    for name, (least, most) in _RANGES.items():
        value = getattr(settings, name)
        if value < least:
            raise SettingsError(f"{flag(name)}: wanted {'at least 1' if least else '0 or more'}; got {value}.")
        if most is not None and value > most:
            raise SettingsError(f"{flag(name)}: wanted at most {most}; got {value}.")
    if not 0 < _number(settings, "prune_rate") < 1:
        raise SettingsError(f"--prune-rate: wanted a share between 0 and 1; got {settings.prune_rate}.")
    if not 0 < _number(settings, "learning_rate") < math.inf:
        raise SettingsError(f"--learning-rate: wanted a positive number; got {settings.learning_rate}.")
    _check_temperature(settings)
    if not 0 <= _number(settings, "l2") < math.inf:
        raise SettingsError(f"--l2: wanted 0 or a positive number; got {settings.l2}.")
    _check_protocol(settings)
    _check_rewind(settings)
    _check_schedule(settings)
    if settings.metric_names[0] not in metric_names.OF_USERS:
        raise SettingsError(
            f"--metrics: wanted first one of {', '.join(metric_names.OF_USERS)}, which have a value for each user to "
            f"choose and to judge by; got {settings.metric_names[0]}."
        )
    if settings.min_per_row and settings.prune_scope != "row":
        raise SettingsError(f"--min-per-row: wanted --prune-scope row; got {settings.prune_scope}.")
    if settings.min_per_row >= settings.dim:
        raise SettingsError(
            f"--min-per-row: wanted fewer than the {settings.dim} entries of a row, so that some can be pruned; "
            f"got {settings.min_per_row}."
        )
    _check_search(settings)


_WITHOUT_RATIOS = ("leave-one-out", "leave-one-out-random", "files")


def _check_protocol(settings: Settings) -> None:
    split, has_ratios = settings.split, settings.ratios != Settings.ratios
    try:
        sizes = settings.core_sizes
    except ValueError:
        sizes = ()
    if sizes is not None and (len(sizes) != 2 or min(sizes) < 1):
        raise SettingsError(f'--core: wanted "5", or "5,10" for users and items, from 1; got {settings.core!r}.')
    try:
        ratios = settings.split_ratios
    except ValueError:
        ratios = ()
    if len(ratios) != 3 or not all(0 < share < math.inf for share in ratios):
        raise SettingsError(
            f'--ratios: wanted three positive shares of train, validation and test, "0.8,0.1,0.1"; '
            f"got {settings.ratios!r}."
        )
    if has_ratios and split in _WITHOUT_RATIOS:
        raise SettingsError(f"--ratios: wanted --split random, user-time, time or cut; got {split}.")
    if settings.split_times is not None and split != "time":
        raise SettingsError(f"--split-times: wanted --split time; got {split}.")
    if settings.split_times is not None and has_ratios:
        raise SettingsError(f"--split-times: wanted no --ratios beside it; got {settings.ratios}.")


CHEAP_SEARCHES = ("short", "early", "gradual", "dynamic")  # train by themselves, a few epochs


def _check_search(settings: Settings) -> None:
    search, is_cheap = settings.search, settings.search in CHEAP_SEARCHES
    if settings.prune_parent == "dense" and search not in ("imp", "one-shot"):
        raise SettingsError(f"--prune-parent: wanted previous with --search {search}; got dense.")
    if settings.rewind == "none" and (settings.prune_parent == "dense" or search == "one-shot"):
        raise SettingsError("--prune-parent: wanted previous, since --rewind none goes on from there; got dense.")
    if settings.search_epochs and not is_cheap:
        wanted = ", ".join(CHEAP_SEARCHES)
        raise SettingsError(f"--search-epochs: wanted one of --search {wanted}; got {search}.")
    scores = ("magnitude",) if search == "dynamic" else ("magnitude", "movement")
    if is_cheap and settings.prune_by not in scores:
        raise SettingsError(
            f"--prune-by: wanted {' or '.join(scores)} with --search {search}; got {settings.prune_by}."
        )
    if search == "dynamic" and settings.prune_scope != "joint":
        raise SettingsError(f"--prune-scope: wanted joint with --search dynamic; got {settings.prune_scope}.")
    if is_cheap and settings.rewind_epoch is not None:
        raise SettingsError(f"--rewind: wanted init, reinit, lr or none with --search {search}; got {settings.rewind}.")


def flag(name: str) -> str:
    """The command-line flag of a setting: `prune_rate` -> `--prune-rate`."""
    return "--" + name.replace("_", "-")


def _number(settings: Settings, name: str) -> float:
    value = getattr(settings, name)
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise SettingsError(f"{flag(name)}: wanted a number; got {value!r}.")
    return value


def _came(value: object, wanted: tuple[str, ...]) -> str:
    return f"got {value!r}{nearest(value, wanted)}"


def _check_schedule(settings: Settings) -> None:
    try:
        schedule = settings.schedule
    except ValueError:
        schedule = (0.0,)
    if not all(low < high < 1 for low, high in itertools.pairwise((0.0, *schedule))):
        raise SettingsError(
            f'--sparsities: wanted rising shares between 0 and 1, "0.5,0.75"; got {settings.sparsities!r}.'
        )


def _check_rewind(settings: Settings) -> None:
    if settings.rewind.startswith("epoch:"):
        epoch = settings.rewind.removeprefix("epoch:")
        if not epoch.isascii() or not epoch.isdigit() or not 1 <= int(epoch) < settings.epochs:
            raise SettingsError(
                f"--rewind: wanted epoch:K with K from 1 to {settings.epochs - 1} (below --epochs); "
                f"got {settings.rewind!r}."
            )
    elif settings.rewind not in REWIND_NAMES:
        wanted = ("init", "epoch:K", "reinit", "none", "lr")
        raise SettingsError(f"--rewind: wanted one of {', '.join(wanted)}; {_came(settings.rewind, wanted)}.")


LOSSES_ON_COSINES = ("sampled-softmax", "cosine-bpr")  # which have a temperature


def _check_temperature(settings: Settings) -> None:
    if not 0 < _number(settings, "temperature") < math.inf:
        raise SettingsError(f"--temperature: wanted a positive number; got {settings.temperature}.")
    if settings.temperature != Settings.temperature and settings.loss not in LOSSES_ON_COSINES:
        wanted = " or ".join(LOSSES_ON_COSINES)
        raise SettingsError(f"--temperature: wanted --loss {wanted}; got {settings.loss}.")
