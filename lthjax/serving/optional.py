"""Packages that lthjax does without, until somebody asks for what needs them."""

import importlib
from types import ModuleType

from lthjax.errors import SettingsError


def package(module: str, name: str, extra: str | None = None) -> ModuleType:
    """An optional module.

    Args:
      module: to import.
      name: of the package that has it.
      extra: of lthjax that brings it; its own name by default.

    Raises:
      SettingsError: it is not installed; one line says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SettingsError(
            f'wanted the package {name}, which is not installed: pip install {name}, or -e ".[{extra or name}]".'
        ) from error
