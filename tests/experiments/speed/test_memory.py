"""Memory that a piece of work takes is seen from outside."""

import numpy as np

from experiments.speed import memory


def test_memory_that_is_taken_is_seen():
    def run():
        np.ones(64 * 2**20, np.uint8)

    added, how = memory.added_bytes(run, 0)
    if how.startswith("resident"):  # Linux
        assert 60 * 2**20 < added < 80 * 2**20
