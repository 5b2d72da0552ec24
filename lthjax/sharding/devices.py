"""The devices that tables are dealt out to."""

import itertools

import jax
from jax.sharding import Mesh

from lthjax.errors import SettingsError
from lthjax.sharding import layout


def mesh(number: int | None = None) -> Mesh:
    """A mesh for `find_tickets(mesh=)`: of all devices, or of so many of each process.

    On a CPU several devices are made of one, where JAX has not started yet: to try what will run elsewhere.

    Args:
      number: 1, 2, 4, ... devices of this process, and of every other where there are several; None for all.

    Raises:
      SettingsError: there are fewer, or rows cannot be dealt out to so many.
    """
    if number is not None:
        ask_for(number)
    by_process = itertools.groupby(jax.devices(), lambda device: device.process_index)
    devices = [list(of_process)[:number] for _, of_process in by_process]
    if number is not None and (least := min(map(len, devices))) < number:
        kind = devices[0][0].platform
        raise SettingsError(
            f"--devices: wanted {number}; this process has {least} ({kind})."
            + (" JAX had started before: set JAX_NUM_CPU_DEVICES." if kind == "cpu" else "")
        )
    chosen = [device for of_process in devices for device in of_process]
    layout.check_number(len(chosen), "--devices, of all processes together")
    return layout.mesh_of(chosen)


def ask_for(number: int | None) -> None:
    """Have so many devices made of a CPU when JAX starts, which it may have done.

    Raises:
      SettingsError: rows cannot be dealt out to so many.
    """
    if number is None:
        return
    layout.check_number(number, "--devices")
    try:
        if number > max(1, jax.config.jax_num_cpu_devices):
            jax.config.update("jax_num_cpu_devices", number)
    except RuntimeError:  # JAX has started: what there is will be counted
        return
