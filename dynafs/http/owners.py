"""GET /v1/ring/owners: which node owns which files, so that clients send requests where nothing is forwarded; and the
header that names a file's owners to clients that asked another node.

An address that only its own machine reaches is for clients on that machine: it is left out of answers to others, and so
is that of a node on another machine than this one.
"""

import asyncio

import msgspec
from aiohttp import web
from blake3 import blake3

from dynafs.config import is_loopback, joined
from dynafs.files import FileName
from dynafs.http.rendering import json_response
from dynafs.operations.node_status import NodeReport
from dynafs.ring import Ring, file_hash
from dynafs.ring.names import is_address
from dynafs.ring.view import RingView
from dynafs.services import Replication

OWNERS_HEADER = "X-Dynafs-Owners"
#: How long the answers of all nodes serve further clients.
SURVEY_KEPT_S = 1.0
INSTANCE_SIZE_BYTES = 8


def owners_header(replication: Replication, name: FileName) -> dict[str, str]:
    """Return the header that names the owners of a file that are up, the first choice first; nothing when this node is
    one of them and stays in service, so that the common case costs a look-up."""
    cluster = replication.cluster
    owners = cluster.view.readers(file_hash(name.key))
    if cluster.me in owners and not replication.maintenance.is_draining:
        return {}
    others = ", ".join(node for node in owners if node != cluster.me and cluster.is_up(node))
    return {OWNERS_HEADER: others} if others else {}


def instance_of(replication: Replication, node: str, started_ms: int) -> str:
    """Return by what a client recognises a node that was started at this time at an address that others gave it."""
    text = f"{replication.settings.cluster.id}\0{node}\0{started_ms}"
    return blake3(text.encode()).hexdigest(INSTANCE_SIZE_BYTES)


def is_for_client(http: str, peers: str, *, is_near: bool) -> bool:
    """Return whether a client may be sent to a node at its address for clients.

    peers: where this node calls that one, empty for itself. is_near: the client is on the machine of this node.
    """
    if not http or not is_address(http):
        return False
    return not is_loopback(http) or (is_near and (not peers or is_loopback(peers)))


class OwnerRoutes:
    """Answers about all owners."""

    def __init__(self, replication: Replication) -> None:
        self._replication = replication
        self._survey: asyncio.Task[dict[str, NodeReport]] | None = None
        self._surveyed_s = 0.0
        #: the ring that was described last, and the JSON of its owners
        self._described: tuple[Ring, msgspec.Raw] | None = None

    def own_instance(self) -> str:
        """Return the instance of this node."""
        replication = self._replication
        return instance_of(replication, replication.settings.node.name, replication.status.started_ms)

    async def table(self, request: web.BaseRequest) -> web.StreamResponse:
        """The nodes with their addresses for clients, and of every partition the owners as places among the nodes."""
        told = await self._told()
        view, is_near = self._replication.cluster.view, is_loopback(joined(request.remote or "unknown", 1))
        return json_response({
            "seen_by": self._replication.settings.node.name, "version": view.version, "step": view.state.step,
            "epoch": view.reading_ring.epoch, "partitions": view.partition_count, "n": view.n,
            "nodes": [self._row(member.node, view, told, is_near=is_near) for member in view.reading_ring.members],
            "owners": self._owners(view.reading_ring),
        })  # fmt: skip

    def _row(self, node: str, view: RingView, told: dict[str, NodeReport], *, is_near: bool) -> dict[str, object]:
        said = told.get(node, NodeReport(problem="not_asked"))
        peers = "" if node == self._replication.cluster.me else self._replication.addresses.get(node, "")
        http = said.http if is_for_client(said.http, peers, is_near=is_near) else ""
        return {
            "node": node, "zone": view.zones[node], "http": http, "is_up": not said.problem,
            "is_draining": said.is_draining, "instance": instance_of(self._replication, node, said.started_ms),
        }  # fmt: skip

    def _owners(self, ring: Ring) -> msgspec.Raw:
        if self._described is None or self._described[0] is not ring:
            places = {member.node: place for place, member in enumerate(ring.members)}
            rows = [[places[node] for node in nodes] for nodes in ring.owners]
            self._described = ring, msgspec.Raw(msgspec.json.encode(rows))
        return self._described[1]

    async def _told(self) -> dict[str, NodeReport]:
        """Return what all nodes say of themselves; clients that ask at about the same time share one survey."""
        loop = asyncio.get_running_loop()
        if self._survey is None or (self._survey.done() and loop.time() > self._surveyed_s + SURVEY_KEPT_S):
            self._survey = asyncio.create_task(self._replication.surveyor.ask())
            self._survey.add_done_callback(self._on_surveyed)
        return await asyncio.shield(self._survey)

    def _on_surveyed(self, survey: "asyncio.Task[dict[str, NodeReport]]") -> None:
        self._surveyed_s = survey.get_loop().time()
        if survey.cancelled() or survey.exception() is not None:
            self._survey = None
