"""HOST:PORT: taken apart, put together, and whether other machines reach it."""

import ipaddress

from dynafs.ring.names import split_address

__all__ = ["is_loopback", "is_unspecified", "joined", "split_address"]


def joined(host: str, port: int) -> str:
    """Return HOST:PORT or [IPv6]:PORT."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(address: str) -> bool:
    """Return whether HOST:PORT can only be reached from this machine."""
    host, _ = split_address(address)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        # Host names have no case, and may end with the dot of the root.
        return host.lower().removesuffix(".") == "localhost"


def is_unspecified(address: str) -> bool:
    """Return whether HOST:PORT stands for all addresses of a machine: to listen on, not to call."""
    try:
        return ipaddress.ip_address(split_address(address)[0]).is_unspecified
    except ValueError:
        return False
