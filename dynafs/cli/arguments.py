"""Arguments that operators give, checked by the rules of the ring before any request: exit code 2, in words."""

from collections.abc import Callable
from typing import TypeVar

import typer

from dynafs.errors import RequestInvalid
from dynafs.ring.names import MIB_PER_S_MAX, checked_address, checked_label, checked_node, checked_weight

T = TypeVar("T")


def _by_rule(check: Callable[[T], T], *, may_be_empty: bool = False) -> Callable[[T], T]:
    """Return a callback for typer that turns a broken rule into a usage error."""

    def callback(value: T) -> T:
        if may_be_empty and not value:
            return value
        try:
            return check(value)
        except RequestInvalid as error:
            raise typer.BadParameter(error.message.partition(": ")[2]) from None

    return callback


node_callback = _by_rule(checked_node)
zone_callback = _by_rule(checked_label)
optional_zone_callback = _by_rule(checked_label, may_be_empty=True)
optional_address_callback = _by_rule(checked_address, may_be_empty=True)
weight_callback = _by_rule(checked_weight)


def parse_mib_per_s(text: str) -> int:
    """Return a pace in MiB a second, 0 to 1048576. Raises ValueError in words."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MIB_PER_S_MAX)) and int(text) <= MIB_PER_S_MAX):
        raise ValueError(f"use a whole number of MiB a second from 0 to {MIB_PER_S_MAX}")
    return int(text)
