r"""Which data sets have a name, and where would they be found?

    python -m experiments.datasets
    python -m experiments.datasets --name ml-1m
    python -m experiments.datasets --all

Prints a line for each: whether it is there, and its counts as published. With --name, all of one: which file to get,
from where, and where to put it, as it was downloaded.
"""

import dataclasses

from experiments import cli
from lthjax.errors import SettingsError, nearest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Which of them are shown."""

    name: str | None = None
    """Tell all of one data set."""
    all: bool = False
    """Show every category of Amazon Reviews 2023, and not only those that are there."""


def main(config: Config) -> None:
    """Print the table, or what is known of one data set."""
    from lthjax.data.listing import datasets
    from lthjax.data.published import AMAZON

    table = datasets()
    if config.name is not None:
        names = table["name"].tolist()
        if config.name not in names:
            raise SettingsError(f"--name: wanted one of the data sets; got {config.name}{nearest(config.name, names)}.")
        row = table[table["name"] == config.name].iloc[0]
        print("\n".join(f"{what}: {text}" for what, text in row.items() if text))
        return
    is_amazon = table["name"].str.startswith(AMAZON) & (table["here"] == "")
    hidden = 0 if config.all else int(is_amazon.sum())
    shown = table if config.all else table[~is_amazon]
    shown = shown.assign(here=shown["here"].map(lambda path: path or "-"))
    print(shown[["name", "interactions", "users", "items", "here"]].to_string(index=False))
    if hidden:
        print(f"{AMAZON}CATEGORY: {hidden} categories of Amazon Reviews 2023 that are not here; --all shows them.")
    print("What to get, and where to put it: --name NAME.")


if __name__ == "__main__":
    cli.run(main, Config, __doc__)
