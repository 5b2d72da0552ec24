"""What each of several processes holds of the training interactions, and the line that says so."""

from typing import Any

import jax
import numpy as np

from lthjax.data.resolve import load_share, load_split
from lthjax.data.share import Share
from lthjax.data.split import Degrees, Split
from lthjax.embeddings import Embeddings
from lthjax.graph import sharded
from lthjax.runtime import processes
from lthjax.settings import Settings
from lthjax.sharding import layout as layouts


def load(
    data: Any, settings: Settings, mesh: jax.sharding.Mesh | None, multiplies: bool | None = None
) -> tuple[Split | Share, str]:
    """What this process needs of the data; the whole split where it is alone, or where these are not read in pieces.

    Args:
      data: as in `find_tickets`.
      settings: likewise.
      mesh: of the devices of all processes.
      multiplies: whether the backbone takes products; by default as the named one does.

    Returns:
      The share or split, and why it is whole, where it need not have been.

    Raises:
      DataError: what is wrong with the data.
      SettingsError: the rows cannot be dealt to so many devices.
    """
    if mesh is None or not processes.is_several() or isinstance(data, Split | Share):
        return load_split(data, settings), ""
    layouts.check_number(mesh.devices.size, "mesh")
    multiplies = settings.model != "mf" if multiplies is None else multiplies
    devices = sharded.own_devices(mesh)

    def needed(degrees: Degrees) -> tuple[np.ndarray, np.ndarray]:
        return sharded.needed(Embeddings(*degrees), devices, mesh.devices.size, multiplies)

    return load_share(data, settings, needed)


def in_words(split: Split | Share, why_whole: str) -> str:
    """The line that says what processes hold; all of several must ask for it.

    Args:
      split: of this process.
      why_whole: as `load` tells it.
    """
    held = processes.of_all([len(split.held_train), len(split.valid) + len(split.test)])
    size = f"{split.held_train.itemsize * 2 * held.sum(axis=1).max() / 2**20:,.1f} MiB"
    if not isinstance(split, Share):
        return f"each of {len(held)} processes holds all {held[0].sum():,} interactions, {size}: {why_whole}"
    return (
        f"each of {len(held)} processes holds {held[:, 0].min():,} to {held[:, 0].max():,} of {split.num_train:,} "
        f"training interactions, and all {held[0, 1]:,} others, {size} at most"
    )
