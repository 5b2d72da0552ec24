"""In a process that was forked after JAX had started, one line takes the place of waiting for ever."""

import os
import subprocess
import sys
import textwrap

import pytest

SECONDS = 400  # a process that hangs fails the test


def run(code, folder):
    """Output and errors of a program of its own, which may start others."""
    file = folder / "program.py"
    file.write_text(textwrap.dedent(code))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, str(file)]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    return done.stdout


FORK = """
    import multiprocessing
    import numpy as np
    import lthjax

    def child():
        from lthjax.evaluation import ranking
        from lthjax.embeddings import Embeddings

        one = np.array([[0, 0]])
        uses = {
            "find_tickets": lambda: lthjax.find_tickets("ml-latest-small"),
            "load_ticket": lambda: lthjax.load_ticket("nowhere"),
            "evaluate": lambda: ranking.evaluate(
                Embeddings(np.ones((1, 2)), np.ones((3, 2))), ranking.ranking_task(one, one + [0, 1], 1)
            ),
        }
        for name, use in uses.items():
            try:
                use()
                print(name, "works", flush=True)
            except lthjax.LthjaxError as error:
                print(name, type(error).__name__, error, flush=True)

    def fork():
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join()
"""


def test_after_jax_has_started_each_use_says_so(tmp_path):
    said = run(FORK + "\n    import jax.numpy\n    jax.numpy.ones(3)\n    fork()", tmp_path).splitlines()
    assert [line.split()[:2] for line in said] == [
        ["find_tickets", "ForkError"],
        ["load_ticket", "ForkError"],
        ["evaluate", "ForkError"],
    ]
    assert all('multiprocessing.get_context("spawn")' in line for line in said)


def test_before_it_has_started_all_works(tmp_path):
    said = run(FORK + "\n    fork()", tmp_path).splitlines()
    assert said[0] == "find_tickets works"
    assert said[1].startswith("load_ticket CheckpointError nowhere")
    assert said[2] == "evaluate works"


@pytest.mark.slow
def test_spawned_processes_work_after_jax_has_started(tmp_path):
    code = """
        import multiprocessing
        import lthjax

        def find_with_seed(seed):
            (ticket,) = lthjax.find_tickets("ml-latest-small", seed=seed, levels=0, epochs=1, dim=4)
            return ticket.level, ticket.settings.seed

        if __name__ == "__main__":
            find_with_seed(0)
            with multiprocessing.get_context("spawn").Pool(2) as pool:
                print(pool.map(find_with_seed, [0, 1]))
    """
    assert run(code, tmp_path) == "[(0, 0), (0, 1)]\n"
