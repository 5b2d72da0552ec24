"""lthjax: winning lottery tickets in the embedding tables of recommenders, in JAX.

    import lthjax

    for ticket in lthjax.find_tickets("ml-latest-small", model="mf", levels=10):
        print(ticket)

Names below load what they need when they are first used, so that `import lthjax` is quick.
"""

import importlib

_HOMES = {
    "find_tickets": "search.find_tickets",
    "from_dense": "search.from_dense",
    "from_model": "search.from_dense",
    "load_ticket": "tickets.ticket",
    "retrain": "search.retrain",
    "load_run": "exploration.run",
    "explore": "exploration.ticket",
    "compare": "exploration.compare",
    "differences": "exploration.compare",
    "fold_in": "serving.fold_in",
    "load_split": "data.resolve",
    "mesh": "sharding.devices",
    "datasets": "data.listing",
    "keep_programs": "runtime.compilation",
    "export": "serving.export",
    "load_compressed": "serving.compressed",
    "CompressedTicket": "serving.compressed",
    "Settings": "settings",
    "Ticket": "tickets.ticket",
    "Verdict": "evaluation.verdict",
    "Interactions": "data.interactions",
    "Split": "data.split",
    "Embeddings": "embeddings",
    "LthjaxError": "errors",
    "DataError": "errors",
    "SettingsError": "errors",
    "TrainingError": "errors",
    "CheckpointError": "errors",
    "ForkError": "errors",
}

_MODULES = {
    "events": "events",
    "pictures": "plots.tables",
    "plots": "plots",
    "presets": "presets",
    "trackers": "trackers",
}

importlib.import_module("lthjax.runtime.forks")  # sees a fork from here on

__all__ = sorted([*_HOMES, *_MODULES])


def __getattr__(name: str):
    if name in _MODULES:
        return importlib.import_module(f"lthjax.{_MODULES[name]}")
    if name not in _HOMES:
        raise AttributeError(f"module 'lthjax' has no attribute {name!r}")
    return getattr(importlib.import_module(f"lthjax.{_HOMES[name]}"), name)


def __dir__():
    return __all__
