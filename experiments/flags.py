"""The flags of a dataclass under headings: a group for each class that its fields come from, the most used ones first.

tyro shows a heading for each field that is a dataclass itself. `grouped` makes such a dataclass of a flat one, whose
flags keep their names, and `flat` takes apart what was parsed.
"""

import dataclasses
import inspect
from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from lthjax.field_docs import field_docs

_MOST_USED, _OTHERS = "most_used", "run"  # groups beside those that classes are named after, DataSettings -> data


def grouped(config: Any, first: Sequence[str]) -> Any:
    """An instance of a dataclass of groups, with the values of a flat one.

    Args:
      config: the flat one, of defaults.
      first: names of fields that stand before all others.
    """
    kind, texts = type(config), field_docs(type(config))
    names: dict[str, list[dataclasses.Field]] = {_MOST_USED: []} if first else {}
    summaries = {_MOST_USED: "All others have defaults that suit most data."}
    home = {name: base for base in kind.__mro__ for name in inspect.get_annotations(base)}
    for field in dataclasses.fields(kind):
        base = home[field.name]
        heading = "" if base is kind else base.__name__.removesuffix("Settings").lower()
        group = _MOST_USED if field.name in first else heading or _OTHERS
        names.setdefault(group, []).append(field)
        summaries.setdefault(group, (base if heading else kind).__doc__.partition("\n")[0])
    if first:
        names[_MOST_USED].sort(key=lambda field: first.index(field.name))
    groups = {}
    for group, fields in names.items():
        made = dataclasses.make_dataclass(
            group, [(field.name, _annotated(field, texts.get(field.name, ""))) for field in fields], frozen=True
        )
        made.__doc__ = summaries[group]
        groups[group] = made(**{field.name: getattr(config, field.name) for field in fields})
    return dataclasses.make_dataclass(kind.__name__, [(name, type(group)) for name, group in groups.items()])(**groups)


def flat(parsed: Any) -> dict[str, Any]:
    """Name -> value, of all groups."""
    return {
        field.name: getattr(group, field.name) for group in vars(parsed).values() for field in dataclasses.fields(group)
    }


def _annotated(field: dataclasses.Field, text: str) -> Any:
    """The type of a field, with its explanation; None, which many may be, is not shown as a choice."""
    shown = {str | None: "STR", int | None: "INT", float | None: "FLOAT", bool | None: "{True,False}"}
    options = {"metavar": shown[field.type]} if field.type in shown else {}
    return Annotated[field.type, tyro.conf.arg(prefix_name=False, help=text, **options)]
