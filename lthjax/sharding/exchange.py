"""How a device gets rows of others when LightGCN propagates; without JAX, for flags and plans.

gather: all rows of one side, some columns at a time. The product is that of one device to the bit: the default.
ring: the rows of one device after the other, which travel round a ring of all devices. A device holds two devices'
rows at a time instead of all; sums have another order, so that the product is that of one device to about 1e-5.
"""

from typing import Literal, get_args

from lthjax.errors import SettingsError, nearest

Exchange = Literal["gather", "ring"]


def check(exchange: str, num_devices: int, propagates: bool = True) -> None:
    """Raise SettingsError for a way that is none, or for a ring where no rows are exchanged.

    Args:
      exchange: "gather" or "ring".
      num_devices: D.
      propagates: whether the backbone does.
    """
    known = get_args(Exchange)
    if exchange not in known:
        hint = nearest(exchange, known) if isinstance(exchange, str) else ""
        raise SettingsError(f"exchange: wanted {' or '.join(known)}; got {exchange!r:.60}{hint}.")
    if exchange == "ring" and not propagates:
        raise SettingsError("exchange: wanted --model lightgcn for ring; got mf, which propagates no table.")
    if exchange == "ring" and num_devices == 1:
        raise SettingsError("exchange: wanted several devices for ring, by --devices or mesh=...; got one.")
