"""Many threads serve at once: BLAS has one thread for as long as a call runs, and as many as before afterwards."""

import threading

import numpy as np
import pytest

from lthjax.serving import top_k

threadpoolctl = pytest.importorskip("threadpoolctl")

USERS, ITEMS = (np.random.default_rng(0).standard_normal((rows, 8)).astype(np.float32) for rows in (70, 500))


def libraries():
    """All BLAS but those under OpenMP, such as the one that FAISS brings: there each thread has a number of its own."""
    found = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
    return [library for library in found if library.threading_layer != "openmp"]


def num_threads():
    return [library.num_threads for library in libraries()]


@pytest.fixture
def three_threads():
    """BLAS with three threads; so many that a limit is seen on a machine of any size."""
    pools = libraries()
    before = [(pool, pool.num_threads) for pool in pools]
    top_k._OneBlasThread._set((pool, 3) for pool in pools)
    if num_threads() != [3] * len(pools) or not pools:
        pytest.skip("a BLAS that has no number of threads for the whole process")
    yield
    top_k._OneBlasThread._set(before)


@pytest.fixture
def within(monkeypatch):
    """Call a function in the middle of every block."""

    def call(function):
        block = top_k._best_dense
        monkeypatch.setattr(top_k, "_best_dense", lambda *arguments: (function(), block(*arguments))[1])

    return call


def test_one_thread_during_a_call(three_threads, within):
    before, during = num_threads(), []
    within(lambda: during.append(num_threads()))
    top_k.recommend(USERS, ITEMS, k=3, scoring="dense")
    assert during == [[1] * len(before)] * 2  # two blocks
    assert num_threads() == before


def test_the_last_call_to_end_takes_the_limit_back(three_threads, within):
    """Calls in a chain: each begins before the one before it ends."""
    before, during, num_calls = num_threads(), [], 6
    began = [threading.Event() for _ in range(num_calls + 1)]
    began[num_calls].set()
    number = threading.local()

    def overlap():
        began[number.value].set()
        assert began[number.value + 1].wait(60)
        during.append(num_threads())

    within(overlap)

    def call(own):
        number.value = own
        if own:
            began[own - 1].wait(60)
        top_k.recommend(USERS[:9], ITEMS, k=3, scoring="dense")

    threads = [threading.Thread(target=call, args=(own,)) for own in range(num_calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert during == [[1] * len(before)] * num_calls
    assert num_threads() == before


def test_many_threads_get_the_same_lists(three_threads):
    before, wanted, lists = num_threads(), top_k.recommend(USERS, ITEMS, k=5, scoring="dense"), []

    def call():
        for _ in range(20):
            lists.append(top_k.recommend(USERS, ITEMS, k=5, scoring="dense").rows)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lists) == 160
    assert all(np.array_equal(rows, wanted.rows) for rows in lists)
    assert num_threads() == before


def test_a_call_that_fails_takes_its_limit_back(three_threads, within):
    before = num_threads()
    within(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        top_k.recommend(USERS, ITEMS, k=3, scoring="dense")
    assert num_threads() == before


def test_a_limit_of_somebody_else_is_theirs(three_threads):
    """Limits of threadpoolctl around a call, around its thread, or ending in the middle of it."""
    with threadpoolctl.threadpool_limits(2, "blas"):
        top_k.recommend(USERS, ITEMS, k=3, scoring="dense")
        assert num_threads() == [2] * len(num_threads())
        thread = threading.Thread(target=top_k.recommend, args=(USERS, ITEMS), kwargs={"k": 3, "scoring": "dense"})
        thread.start()
        thread.join()
        assert num_threads() == [2] * len(num_threads())
    assert num_threads() == [3] * len(num_threads())


def test_sparse_products_leave_blas_alone(three_threads, monkeypatch):
    before, during, block = num_threads(), [], top_k._best_sparse
    monkeypatch.setattr(top_k, "_best_sparse", lambda *arguments: (during.append(num_threads()), block(*arguments))[1])
    top_k.recommend(USERS, ITEMS, k=3, scoring="sparse")
    assert during[0] == before


def test_without_threadpoolctl(monkeypatch, three_threads):
    before = num_threads()
    monkeypatch.setattr(top_k, "threadpoolctl", None)
    monkeypatch.setattr(top_k, "_one_blas_thread", top_k._OneBlasThread())
    assert top_k.recommend(USERS, ITEMS, k=3, scoring="dense").rows.shape == (70, 3)
    assert num_threads() == before
