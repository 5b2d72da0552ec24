"""The functions that names in the settings stand for, and the backbone that a ticket was found with."""

from typing import Any

from lthjax.errors import SettingsError
from lthjax.model import backbones, losses, tables
from lthjax.model.backbones import Backbone
from lthjax.model.losses import Loss
from lthjax.pruning.rules import SCORES
from lthjax.settings import Settings
from lthjax.tickets.ticket import Ticket
from lthjax.training import fingerprint
from lthjax.training.optimizer import OPTIMIZERS
from lthjax.training.sampling import SAMPLERS


def _functions() -> dict[str, Any]:
    """The functions that names in the settings stand for, by where they stand."""
    functions = {"losses.bpr": losses.bpr, "losses.sampled_softmax": losses.sampled_softmax}
    functions |= {"losses.cosine_bpr": losses.cosine_bpr}
    functions |= {"backbones.mf": backbones.mf, "backbones.lightgcn": backbones.lightgcn}
    registries = {"SCORES": SCORES, "SAMPLERS": SAMPLERS, "DRAWS": tables.DRAWS}
    for name, choices in (registries | {"LOSSES": losses.LOSSES, "OPTIMIZERS": OPTIMIZERS}).items():
        functions |= {f"{name}[{choice!r}]": function for choice, function in choices.items()}
    return functions


_SHIPPED = _functions()


def check_named() -> None:
    """Refuse a named function that was replaced: settings, folders and kept programs say the same of both.

    Raises:
      SettingsError: it was.
    """
    replaced = [name for name, function in _functions().items() if _SHIPPED.get(name) is not function]
    if replaced:
        raise SettingsError(
            f"{', '.join(replaced)}: wanted the function of lthjax that the settings name; got another in its place. "
            "Give yours as loss=..., backbone=... or score=..., so that tickets and folders tell it apart."
        )


def backbone_of(settings: Settings) -> Backbone:
    """The backbone that the settings name."""
    return backbones.named(settings.model, settings.layers, settings.combine)


def loss_of(settings: Settings) -> Loss:
    """The loss that the settings name."""
    of_l2 = {"l2": settings.l2, "l2_form": settings.l2_form, "l2_on": settings.l2_on}
    return losses.named(settings.loss, settings.temperature, **of_l2)


def backbone_of_ticket(ticket: Ticket, backbone: Backbone | None = None) -> Backbone:
    """The backbone that a ticket was found with.

    Args:
      ticket: of `find_tickets`.
      backbone: the one that was given then in code, if any.

    Raises:
      SettingsError: it is wanted and not given, or another is given, or a named one was replaced.
    """
    check_named()
    wanted = ticket.given.get("backbone")
    came = None if backbone is None else fingerprint.of_backbone(backbone)
    if wanted != came:
        raise SettingsError(
            f"backbone: wanted the one that the ticket was found with ({wanted or ticket.settings.model}), as "
            f"backbone=...; got {came or 'none'}."
        )
    return backbone or backbone_of(ticket.settings)
