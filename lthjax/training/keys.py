"""Random keys: one for each purpose and level, from one seed."""

import enum

import jax


class Purpose(enum.IntEnum):
    """What a key is for. Runs on disk were made with these numbers."""

    FIRST_VALUES = 0
    BATCHES = 1
    RANDOM_PRUNING = 2
    FRESH_VALUES = 3  # of rewind reinit
    PEP_SEARCH = 4
    PEP_BATCHES = 5
    LCM_FIRST_VALUES = 6
    LCM_BATCHES = 7
    NEW_ROWS = 8  # of `fold_in`
    SEARCH_BATCHES = 9  # of what searches train besides tickets
    SEARCH_MASKS = 10  # random entries of masks that a search begins with


def key_of(seed: int, purpose: Purpose, level: int = 0) -> jax.Array:
    """The key of a purpose and level.

    Args:
      seed: of the run.
      purpose: what it is for.
      level: prunings so far, or any other number that tells draws of one purpose apart.
    """
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), purpose), level)
