"""Names, zones, weights and addresses of nodes: one rule for each, wherever the value comes from.

Settings, HTTP, the command line, staged changes and what other nodes introduce are all checked here. Each function
returns its value or raises RequestInvalid, which names the field and the rule.
"""

import ipaddress
import re

from dynafs.errors import RequestInvalid

NODE_LENGTH_MAX, LABEL_LENGTH_MAX, HOST_LENGTH_MAX = 63, 64, 253
PORT_MAX = 65_535
WEIGHT_MIN, WEIGHT_MAX = 0.001, 1e6
#: The pace that a job can be limited to: 1 TiB a second is as good as no limit.
BYTES_PER_S_MAX = 1 << 40
MIB_PER_S_MAX = BYTES_PER_S_MAX >> 20

NODE_RULE = f"1 to {NODE_LENGTH_MAX} of a-z A-Z 0-9 . _ -, and neither . nor .."
LABEL_RULE = f"1 to {LABEL_LENGTH_MAX} printable characters, with no space at either end"
ADDRESS_RULE = f"HOST:PORT or [IPv6]:PORT, with a port from 1 to {PORT_MAX}"

_NODE = re.compile(rf"[a-zA-Z0-9._-]{{1,{NODE_LENGTH_MAX}}}")
_HOST = re.compile(r"[a-zA-Z0-9_-]{1,63}(?:\.[a-zA-Z0-9_-]{1,63})*\.?")


def is_node_name(name: str) -> bool:
    """Return whether a node can have this name: it is a segment of paths and a word of commands."""
    return _NODE.fullmatch(name) is not None and name not in (".", "..")


def is_label(text: str) -> bool:
    """Return whether a zone or a cluster can be called this."""
    return 1 <= len(text) <= LABEL_LENGTH_MAX and text.isprintable() and text == text.strip()


def is_address(address: str) -> bool:
    """Return whether this is HOST:PORT of something that can be called."""
    try:
        _, port = split_address(address)
    except ValueError:
        return False
    host, _, _ = address.rpartition(":")
    return port > 0 and is_host(host)


def is_host(host: str) -> bool:
    """Return whether this is a host name, an IPv4 address, or an IPv6 address in brackets."""
    if len(host) > HOST_LENGTH_MAX:
        return False
    if not host.startswith("["):
        return _HOST.fullmatch(host) is not None
    try:
        ipaddress.IPv6Address(host[1:-1])
    except ValueError:
        return False
    return host.endswith("]")


def checked_node(name: str, field: str = "node") -> str:
    """Return the name of a node. Raises RequestInvalid."""
    if not is_node_name(name):
        raise RequestInvalid(field, f"{excerpt(name)} is no name of a node; use {NODE_RULE}")
    return name


def checked_label(text: str, field: str = "zone") -> str:
    """Return the name of a zone or cluster. Raises RequestInvalid."""
    if not is_label(text):
        raise RequestInvalid(field, f"{excerpt(text)} is no name; use {LABEL_RULE}")
    return text


def checked_address(address: str, field: str = "address") -> str:
    """Return HOST:PORT. Raises RequestInvalid."""
    if not is_address(address):
        raise RequestInvalid(field, f"{excerpt(address)} is not {ADDRESS_RULE}")
    return address


def checked_weight(weight: float, field: str = "weight") -> float:
    """Return a finite weight in its range. Raises RequestInvalid."""
    if not WEIGHT_MIN <= weight <= WEIGHT_MAX:
        raise RequestInvalid(field, f"use a number from {WEIGHT_MIN:g} to {WEIGHT_MAX:.0f}, not {weight:g}")
    return weight


def split_address(address: str) -> tuple[str, int]:
    """Return (host, port) of HOST:PORT or [IPv6]:PORT, port 0 to 65535; raise ValueError otherwise."""
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or len(port) > 5 or int(port) > PORT_MAX:
        raise ValueError(f"{excerpt(address)} is not HOST:PORT")
    return host.strip("[]"), int(port)


def excerpt(text: str) -> str:
    """Return the beginning of a text in quotes, with everything escaped that is not printable."""
    return repr(text if len(text) <= LABEL_LENGTH_MAX else text[:LABEL_LENGTH_MAX] + "…")
