"""The flags of several devices and processes, and what they ask for; no command by itself."""

import dataclasses
from typing import TYPE_CHECKING

import lthjax
from lthjax.errors import SettingsError
from lthjax.settings import flag
from lthjax.sharding.exchange import Exchange

if TYPE_CHECKING:
    from jax.sharding import Mesh


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeviceSettings:
    """Tables larger than a device are dealt out to several; tickets are the same on any number that gathers."""

    devices: int | None = None
    """Devices of this process to deal the tables out to: 1, 2, 4, ...; with --coordinator by default all there are."""
    exchange: Exchange = "gather"
    """How LightGCN gets rows of other devices. gather: all of one side, 32 columns at a time. ring: one device's after
    the other, in less memory from four devices on; equal to about 1e-5, not to the bit."""
    coordinator: str | None = None
    """Of a run of several processes, HOST:PORT of process 0; or auto, where SLURM, MPI or a TPU pod tells it."""
    num_processes: int | None = None
    """How many processes there are."""
    process_id: int | None = None
    """Which of them this is, from 0, which alone writes."""
    timeout: int = 300
    """Seconds to wait for the other processes."""

    def __post_init__(self):
        numbers = {"num_processes": self.num_processes, "process_id": self.process_id}
        given = [name for name, number in numbers.items() if number is not None]
        if given and self.coordinator in (None, "auto"):
            came = "none" if self.coordinator is None else "auto, which tells it"
            raise SettingsError(f"{flag(given[0])}: wanted --coordinator HOST:PORT with it; got {came}.")
        if self.exchange == "ring" and self.devices is None and self.coordinator is None:
            raise SettingsError("--exchange ring: wanted several --devices, or --coordinator, with it; got none.")
        if self.timeout < 1:
            raise SettingsError(f"--timeout: wanted at least 1 second; got {self.timeout}.")


def mesh_of(flags: DeviceSettings) -> "Mesh | None":
    """The devices that are asked for, those of other processes too; None for the one of a plain run. JAX starts here.

    Raises:
      SettingsError: they are not there, or a process is not.
    """
    if flags.devices is None and flags.coordinator is None:
        return None
    from lthjax.runtime import processes
    from lthjax.sharding import devices

    devices.ask_for(flags.devices)
    if flags.coordinator is not None:
        processes.start(flags.coordinator, flags.num_processes, flags.process_id, flags.timeout)
    return lthjax.mesh(flags.devices)
