"""How many client connections there may be, and which one goes when there are too many.

Rule: a connection without a request holds nothing that its client would miss, so at a limit the oldest of them is
closed for the new one: first those that never sent a whole request, then those that wait between requests. Only when
every connection has a request, the new one is refused. Header sections under way share one budget of bytes.

Pure bookkeeping: `ClientConnection` reports what happens to it, and closes when its `drop` is called.
"""

import ipaddress
from dataclasses import dataclass, field
from typing import Protocol

#: Addresses of one IPv6 client: a host chooses freely within its /64.
IPV6_CLIENT_PREFIX = 64
#: Refused connections that are not closed yet, besides those that are counted.
REFUSED_MAX = 64
#: A new connection has this long for its first request before it goes ahead of connections that had one.
FIRST_REQUEST_GRACE_S = 1.0


class Limited(Protocol):
    """What the limits need of a connection."""

    def drop(self, reason: str) -> None:
        """Close it at once."""
        ...


@dataclass(slots=True)
class _Group:
    """Connections that a limit counts together. The dictionaries have the oldest first."""

    count: int = 0
    #: {connection that has sent no whole request yet: when it was accepted}
    fresh: dict[Limited, float] = field(default_factory=dict)
    #: connections between two requests
    idle: dict[Limited, None] = field(default_factory=dict)

    def oldest(self, now_s: float) -> Limited | None:
        """Return the connection that is missed least, None when all have requests."""
        fresh = next(iter(self.fresh), None)
        if fresh is not None and now_s - self.fresh[fresh] >= FIRST_REQUEST_GRACE_S:
            return fresh
        return next(iter(self.idle), fresh)


class ConnectionLimits:
    """All client connections of a node and what they may use together."""

    def __init__(
        self, count_max: int, per_address_max: int, descriptor_max: int, headers_pending_size_bytes_max: int
    ) -> None:
        """per_address_max: 0 for no limit. descriptor_max: accepted sockets above this number are one too many, so that
        the rest of the process keeps the descriptors it needs."""
        self._count_max, self._per_address_max, self._descriptor_max = count_max, per_address_max, descriptor_max
        self._pending_max = headers_pending_size_bytes_max
        self._all = _Group()
        #: {address: its connections}; without loopback, where a proxy may stand for any number of clients
        self._addresses: dict[str, _Group] = {}
        #: {connection: the address it counts for, "" for none}
        self._members: dict[Limited, str] = {}
        #: {connection: bytes of its unfinished header section}, the oldest first
        self._pending: dict[Limited, int] = {}
        self._pending_size_bytes = 0
        self._refused: dict[Limited, None] = {}

    @property
    def count(self) -> int:
        """Open connections."""
        return self._all.count

    def admit(self, connection: Limited, host: str, descriptor: int, now_s: float) -> str:
        """Count a new connection; return "" or the limit that refuses it: connections, descriptors or address.

        descriptor: the number of its socket. now_s: a monotonic time.
        """
        address = counted_address(host) if self._per_address_max else ""
        if descriptor >= self._descriptor_max and not self._make_room(self._all, now_s):
            return "descriptors"
        if self._all.count >= self._count_max and not self._make_room(self._all, now_s):
            return "connections"
        group = self._addresses.get(address)
        if group is not None and group.count >= self._per_address_max and not self._make_room(group, now_s):
            return "address"
        self._members[connection] = address
        if address:
            self._addresses.setdefault(address, _Group())
        for one in self._groups(address):
            one.count += 1
            one.fresh[connection] = now_s
        return ""

    def begin_request(self, connection: Limited) -> None:
        """The connection sent a whole header section: it is not idle any more."""
        address = self._members.get(connection)
        if address is None:
            return
        self._forget_pending(connection)
        for group in self._groups(address):
            group.idle.pop(connection, None)
            group.fresh.pop(connection, None)

    def end_request(self, connection: Limited) -> None:
        """All requests of the connection are answered: it is idle, and the youngest of the idle."""
        address = self._members.get(connection)
        if address is None:
            return
        for group in self._groups(address):
            group.idle[connection] = None

    def add_pending(self, connection: Limited, size_bytes: int) -> None:
        """The connection sent a part of a header section; close the oldest of its kind while all hold too much."""
        if connection not in self._members:
            return
        self._pending[connection] = self._pending.get(connection, 0) + size_bytes
        self._pending_size_bytes += size_bytes
        while self._pending_size_bytes > self._pending_max:
            self._drop(next(iter(self._pending)), "headers_pending")

    def remove(self, connection: Limited) -> None:
        """The connection is closed, or as good as. Safe to repeat."""
        address = self._members.pop(connection, None)
        if address is None:
            return
        self._forget_pending(connection)
        for group in self._groups(address):
            group.count -= 1
            group.fresh.pop(connection, None)
            group.idle.pop(connection, None)
        if address and not self._addresses[address].count:
            del self._addresses[address]

    def add_refused(self, connection: Limited) -> None:
        """A refused connection stays for a moment, so that its client can read why; the oldest goes for a new one."""
        self._refused[connection] = None
        if len(self._refused) > REFUSED_MAX:
            oldest = next(iter(self._refused))
            del self._refused[oldest]
            oldest.drop("refused")

    def remove_refused(self, connection: Limited) -> None:
        """A refused connection is closed."""
        self._refused.pop(connection, None)

    def _groups(self, address: str) -> tuple[_Group, ...]:
        return (self._all, self._addresses[address]) if address else (self._all,)

    def _forget_pending(self, connection: Limited) -> None:
        self._pending_size_bytes -= self._pending.pop(connection, 0)

    def _make_room(self, group: _Group, now_s: float) -> bool:
        """Close the connection of the group that is missed least; return whether there was one."""
        oldest = group.oldest(now_s)
        if oldest is not None:
            self._drop(oldest, "made_room")
        return oldest is not None

    def _drop(self, connection: Limited, reason: str) -> None:
        self.remove(connection)
        connection.drop(reason)


def counted_address(host: str) -> str:
    """Return what an address counts as: itself, its /64 for IPv6, "" (not limited) for loopback and unknown ones."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return counted_address(str(address.ipv4_mapped))
        if not address.is_loopback:
            return str(ipaddress.ip_network((int(address), IPV6_CLIENT_PREFIX), strict=False))
    return "" if address.is_loopback else host
