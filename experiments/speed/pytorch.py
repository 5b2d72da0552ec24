"""The peer of the benchmarks: PyTorch, where it is installed, on the device that JAX uses."""

import contextlib
import importlib
import warnings
from collections.abc import Iterator
from types import ModuleType

from lthjax.runtime import compilation

NOT_HERE = "PyTorch is not here (or cannot use this GPU): lthjax alone. pip install torch for the comparison."


def find() -> ModuleType | None:
    """PyTorch with all cores, or None where it is not installed, or where it cannot use the GPU that JAX uses."""
    import jax

    with quiet():
        try:
            torch = importlib.import_module("torch")
        except ImportError:
            return None
        if jax.default_backend() != "cpu" and not torch.cuda.is_available():
            return None
    torch.set_num_threads(compilation.cores())
    return torch


def device_of_jax() -> str:
    """The device that JAX uses, in PyTorch's words."""
    import jax

    return "cpu" if jax.default_backend() == "cpu" else "cuda"


def wait(torch: ModuleType) -> None:
    """Return when all of PyTorch's work is done."""
    if device_of_jax() == "cuda":
        torch.cuda.synchronize()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings within: PyTorch says once per process that its sparse matrices are young."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def comparison(ratios: dict[str, dict[str, float]]) -> str:
    """How many times as fast as each peer lthjax is, from `timing.ratio`; or that there is no peer."""
    if not ratios:
        return NOT_HERE
    return "lthjax is " + ", ".join(
        f"{ratio['of_medians']:.1f}x ({ratio['least']:.1f} to {ratio['most']:.1f}) as fast as {name}"
        for name, ratio in ratios.items()
    )
