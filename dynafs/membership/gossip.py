"""Gossip: who says that who is alive, and what every node says of itself, by kinship (SWIM with Lifeguard).

It is a hint, never a reason: connections tell whether a node can be called, the ring tells who owns what. Gossip makes
newcomers known to all who know one of them, tells new addresses, and lets reads turn away from a node that froze some
seconds before its connections give up.
"""

import asyncio
import hmac
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import kinship
import msgspec

from dynafs.config import joined, split_address
from dynafs.errors import GossipFailed
from dynafs.observe.events import get_logger
from dynafs.observe.supervision import reporting, supervised
from dynafs.ring.names import excerpt, is_address, is_label, is_node_name

log = get_logger()

#: How long a node that stops tells others that it does.
LEAVE_S = 0.15
#: After which a node that is gone may come back at another address.
RECLAIM_S = 1.0
#: How often a node compares all it heard with another one: by then who was taken for its former self is heard.
SYNC_S = 10.0
#: Of what a node says of itself: more digits than these are no number.
VERSION_DIGITS_MAX, PORT_DIGITS_MAX = 18, 5
#: Gossip's key is another one than that of the handshakes.
KEY_PURPOSE = b"dynafs gossip"


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says of itself, as strings of few bytes. port: where peers call it; its host is known from where its
    gossip comes from. ring, epoch: of the ring state that it knows. draining: "1" while it is."""

    port: str = ""
    zone: str = ""
    ring: str = "0"
    epoch: str = "0"
    wire: str = ""
    draining: str = ""


class Kin(NamedTuple):
    """A node as gossip knows it.

    address: where peers call it, empty when it does not say so. is_doubted: it does not answer, left, or is being
    taken out of service.
    """

    address: str
    about: About
    is_doubted: bool

    @property
    def ring_version(self) -> int:
        """The version of the ring state that it says to know."""
        return _whole_number(self.about.ring, VERSION_DIGITS_MAX)


class GossipObserver(NamedTuple):
    """What gossip leads to. on_alive: called with a node that came alive. on_news: called after every event.
    on_doubted: called with all nodes that are to be asked last."""

    on_alive: Callable[[str], None] = lambda _: None
    on_news: Callable[[], None] = lambda: None
    on_doubted: Callable[[frozenset[str]], None] = lambda _: None


class Gossip:
    """One node's part in the gossip of its cluster."""

    def __init__(self, me: str, cluster: str, secret: bytes, about: About, observer: GossipObserver) -> None:
        self._me, self._cluster, self._about, self._observer = me, cluster, about, observer
        self._key = hmac.digest(secret, KEY_PURPOSE, "sha256")
        self._gossip: kinship.Cluster | None = None
        self._listening: asyncio.Task[None] | None = None
        #: {node: what is known of it}, all that are alive or suspected, without this node
        self.kin: dict[str, Kin] = {}
        #: names of members that no node can have; they are left out of `kin`
        self._refused: set[str] = set()
        #: nodes to ask last
        self.doubted: frozenset[str] = frozenset()

    async def start(self, host: str, port: int, **changes: str) -> None:
        """Listen for gossip, at a port of the system's choice for port 0. changes: of what this node says of itself.
        Raises GossipFailed."""
        self._about = msgspec.structs.replace(self._about, **changes)
        loop = asyncio.get_running_loop()
        try:
            (_, _, _, _, where), *_ = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            gossip = kinship.Cluster(
                kinship.Config.lan(
                    name=self._me, bind=joined(str(where[0]), port), cluster=self._cluster, keys=[self._key],
                    meta=msgspec.to_builtins(self._about), dead_reclaim=RECLAIM_S,
                    push_pull_interval=SYNC_S,
                )
            )  # fmt: skip
            events = (await gossip.start()).events()
        except (kinship.KinshipError, OSError) as error:
            raise GossipFailed(f"cannot gossip at {host} port {port}: {error}") from error
        self._gossip = gossip
        self._listening = supervised("gossip", partial(self._listen, events))

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._gossip is not None
        return split_address(self._gossip.local.addr)[1]

    async def join(self, host: str, port: int) -> bool:
        """Meet a node, and so everybody it knows; return whether it answered."""
        assert self._gossip is not None
        try:
            met = await self._gossip.join([joined(host, port)])
        except kinship.KinshipError as error:
            log.debug("gossip.unanswered", host=host, port=port, reason=str(error))
            return False
        self._refresh()
        return met > 0

    async def tell(self, **changes: str) -> None:
        """Say something else of this node; nothing happens when it is no news."""
        about = msgspec.structs.replace(self._about, **changes)
        if about != self._about and self._gossip is not None:
            self._about = about
            await self._gossip.set_meta(msgspec.to_builtins(about))

    async def _listen(self, events: kinship.EventStream) -> None:
        async for event in events:
            with reporting("gossip"):
                self._on_event(event)

    def _on_event(self, event: kinship.Event) -> None:
        match event:
            case kinship.MemberJoined(member=member) | kinship.MemberRecovered(member=member):
                self._refresh()
                self._observer.on_alive(member.name)
            case kinship.MemberSuspect(member=member) | kinship.MemberDead(member=member):
                log.info("gossip.doubted", peer=member.name)
            case kinship.NameConflict(member=member, other_addr=address):
                log.warning("gossip.name_taken", peer=member.name, address=address)
            case _:
                pass
        self._refresh()
        self._observer.on_news()

    def _refresh(self) -> None:
        assert self._gossip is not None
        found, refused = {}, set()
        for member in self._gossip.members():
            if not is_node_name(member.name):
                refused.add(member.name)
            elif member.name != self._me:
                found[member.name] = _kin_of(member)
        for name in refused - self._refused:
            log.warning("gossip.name_refused", peer=excerpt(name))
        self._refused = refused
        gone = self.doubted - found.keys() | self.kin.keys() - found.keys()
        self.kin = found
        self.doubted = frozenset(gone | {node for node, kin in found.items() if kin.is_doubted})
        self._observer.on_doubted(self.doubted)

    async def close(self) -> None:
        """Say that this node goes, and stop."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        if self._gossip is not None:
            try:
                if self.kin.keys() - self.doubted:
                    # It need not reach everybody: who does not hear of it finds out.
                    with suppress(TimeoutError):
                        async with asyncio.timeout(LEAVE_S):
                            await self._gossip.leave()
                await self._gossip.close()
            except kinship.KinshipError as error:
                log.debug("gossip.unanswered", host="", port=0, reason=str(error))


def _kin_of(member: kinship.Member) -> Kin:
    """Return what a member says; nothing that it says is trusted to be of any form."""
    known = {name: value for name, value in member.meta.items() if name in About.__struct_fields__}
    about = About(**known)
    if not is_label(about.zone):
        about = msgspec.structs.replace(about, zone="")
    host, _ = split_address(member.addr)
    address = joined(host, _whole_number(about.port, PORT_DIGITS_MAX))
    is_doubted = member.state is not kinship.State.ALIVE or about.draining == "1"
    return Kin(address if is_address(address) else "", about, is_doubted)


def _whole_number(text: str, digits_max: int) -> int:
    """Return what a text says, 0 when that is no whole number of so few digits."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= digits_max else 0


class _GossipLog(logging.Handler):
    """Turns what kinship warns of into events."""

    def emit(self, record: logging.LogRecord) -> None:
        log.warning("gossip.troubled", reason=record.getMessage()[:300])


def route_logs() -> None:
    """Have what kinship warns of become events. To be called before there is an event loop."""
    logger = logging.getLogger("kinship")
    logger.propagate = False
    logger.handlers = [_GossipLog()]
    kinship.log_to_python(logging.WARNING)
