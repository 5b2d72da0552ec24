"""lthjax: winning lottery tickets in the embedding tables of recommenders, in JAX.

    import lthjax

    for ticket in lthjax.find_tickets("ml-latest-small", model="mf", levels=10):
        print(ticket)

Names below load what they need when they are first used, so that `import lthjax` is quick.
"""

import importlib

_HOMES = {
    "find_tickets": "imp",
    "load_ticket": "imp",
    "retrain": "imp",
    "load_run": "exploration",
    "explore": "found",
    "fold_in": "folding",
    "load_split": "jobs",
    "keep_programs": "compilation",
    "export": "exporting",
    "load_compressed": "compressed",
    "CompressedTicket": "compressed",
    "Settings": "settings",
    "Ticket": "tickets",
    "Verdict": "verdict",
    "Interactions": "data",
    "Split": "splits",
    "Embeddings": "embeddings",
    "LthjaxError": "errors",
    "DataError": "errors",
    "SettingsError": "errors",
    "TrainingError": "errors",
    "CheckpointError": "errors",
}

_MODULES = ("pictures", "plots", "presets")

__all__ = sorted([*_HOMES, *_MODULES])


def __getattr__(name: str):
    if name in _MODULES:
        return importlib.import_module(f"lthjax.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'lthjax' has no attribute {name!r}")
    return getattr(importlib.import_module(f"lthjax.{_HOMES[name]}"), name)


def __dir__():
    return __all__
