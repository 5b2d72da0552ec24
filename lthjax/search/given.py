"""What is given in code in place of what the settings name, and what it is called."""

import functools
from typing import Any, NamedTuple

import optax

from lthjax.errors import SettingsError
from lthjax.model.backbones import Backbone
from lthjax.model.losses import Loss
from lthjax.pruning.rules import Score
from lthjax.settings import Settings
from lthjax.training import fingerprint, labels


class Given(NamedTuple):
    """What is given in code; None is what the settings name."""

    search: Any = None  # `Search` of `search.steps`
    score: Score | None = None
    backbone: Backbone | None = None
    loss: Loss | None = None
    optimizer: optax.GradientTransformation | None = None
    optimizer_label: str | None = None  # what that is called in tables; None is what its closures tell

    def without_names(self) -> "tuple[Given, dict[str, str]]":
        """What is given as functions, and the names among what was given, which are settings."""
        named = {kind: name for kind in ("search", "loss", "optimizer") if isinstance(name := getattr(self, kind), str)}
        return self._replace(**dict.fromkeys(named)), named

    def names(self, num_negatives: int = 1) -> dict[str, str]:
        """Fingerprints of all but the optimizer, by what they are.

        Args:
          num_negatives: that a loss is given of each positive.

        Raises:
          SettingsError: one is no function.
        """
        kinds = ("search", "score", "backbone", "loss")
        functions = {kind: function for kind in kinds if (function := getattr(self, kind)) is not None}
        for kind, function in functions.items():
            if not callable(function):
                raise SettingsError(f"{kind}: wanted a function; got {function!r:.60}.")
        namers = {kind: getattr(fingerprint, f"of_{kind}") for kind in functions}
        if "loss" in namers:
            namers["loss"] = functools.partial(fingerprint.of_loss, num_negatives=num_negatives)
        return {kind: namers[kind](function) for kind, function in functions.items()}

    def optimizer_names(self, settings: Settings) -> tuple[str, str]:
        """(the name that settings have, or a fingerprint; the label, "" of what settings name or nothing tells).

        Raises:
          SettingsError: a label without an optimizer, or one that is no line of text.
        """
        label = self.optimizer_label
        if label is not None and (not isinstance(label, str) or not label.isprintable() or not label.strip()):
            raise SettingsError(f"optimizer_name: wanted a line of text; got {label!r:.60}.")
        if self.optimizer is None:
            if label is not None:
                raise SettingsError(
                    f"optimizer_name: wanted optimizer=... that it is the name of; got {label!r} alone."
                )
            return settings.optimizer, ""
        return fingerprint.of_optimizer(self.optimizer), label or labels.of_optimizer(self.optimizer)
