"""The handshake: both sides prove that they know the cluster secret before a single request is read.

    caller                                     listener
    Hello(cluster, node, lane, ring, nonce) ->
                                            <- Hello(…, own nonce), Proof = HMAC(secret, "listener" + both hellos)
    Proof = HMAC(secret, "caller" + both)   ->
                                            <- Welcome, or Refusal(reason) at any point

The proof covers both hellos, so nothing in them can be altered or replayed; the role in it keeps one side's proof from
being reflected as the other's. The secret never crosses the wire. The ring digest keeps nodes that would route
differently from mixing their data; it is empty in the hello of one that has yet to learn which cluster it meets.
"""

import hmac

import msgspec

from dynafs.errors import RemoteProtocolError
from dynafs.ring.names import NODE_RULE, excerpt, is_node_name
from dynafs.wire.message import Message

#: Of the messages this node speaks. Raised when nodes before it would not understand new ones; such messages say since
#: which version they are (`Message.since`). Fields may be appended to messages at any time: who does not know them
#: passes over them, who misses them takes their default.
WIRE_VERSION = 3
#: Versions that work together, so that nodes can be updated one after another.
VERSIONS_APART_MAX = 1
NONCE_SIZE_BYTES = 32
LANES = ("control", "bulk")


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Who speaks. lane: "control" for small messages, "bulk" for chunk bytes."""

    wire_version: int
    cluster: str
    node: str
    lane: str
    ring_digest: bytes
    nonce: bytes


class Proof(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """HMAC-SHA256 over role and both hellos."""

    mac: bytes


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Requests may follow."""


class Refusal(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Why the connection closes."""

    reason: str


HandshakeMessage = Hello | Proof | Welcome | Refusal
_decoder: msgspec.msgpack.Decoder[HandshakeMessage] = msgspec.msgpack.Decoder(HandshakeMessage)


def encode_handshake(message: HandshakeMessage) -> bytes:
    """Return the head of a HELLO frame."""
    return msgspec.msgpack.encode(message)


def decode_handshake(head: bytes) -> HandshakeMessage:
    """Return the message; raise RemoteProtocolError for anything else."""
    try:
        return _decoder.decode(head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RemoteProtocolError(f"a handshake message cannot be decoded: {error}") from None


def prove(secret: bytes, role: str, caller: Hello, listener: Hello) -> bytes:
    """Return the proof of one side. role: "caller" or "listener"."""
    transcript = msgspec.msgpack.encode((role, caller, listener))
    return hmac.digest(secret, transcript, "sha256")


class CallerHandshake:
    """The side that opened the connection. `on_message` returns what to send; `done` tells when requests may follow."""

    def __init__(self, secret: bytes, hello: Hello, expected_node: str) -> None:
        """expected_node: empty when whoever listens will do."""
        self._secret, self._hello, self._expected_node = secret, hello, expected_node
        self._theirs: Hello | None = None
        self._proven = False
        self.done = False

    @property
    def wire_version(self) -> int:
        """The version that both sides speak."""
        return spoken(self._hello, self._theirs)

    def first(self) -> list[HandshakeMessage]:
        """Return the messages that open the conversation."""
        return [self._hello]

    def on_message(self, message: HandshakeMessage) -> list[HandshakeMessage]:
        """Take one message of the listener. Raises RemoteProtocolError when it must not be trusted."""
        match message:
            case Hello() if self._theirs is None:
                check_hello(self._hello, message)
                if self._expected_node and message.node != self._expected_node:
                    raise RemoteProtocolError(f"expected node {self._expected_node}, met {message.node}")
                self._theirs = message
                return []
            case Proof() if self._theirs is not None and not self._proven:
                if not hmac.compare_digest(message.mac, prove(self._secret, "listener", self._hello, self._theirs)):
                    raise RemoteProtocolError("the node does not know our cluster secret")
                self._proven = True
                return [Proof(prove(self._secret, "caller", self._hello, self._theirs))]
            case Welcome() if self._proven:
                self.done = True
                return []
            case Refusal():
                raise RemoteProtocolError(f"refused by the node: {message.reason[:200]}")
            case _:
                raise RemoteProtocolError(f"{type(message).__name__} out of order in the handshake")


class ListenerHandshake:
    """The side that accepted the connection; the mirror of CallerHandshake."""

    def __init__(self, secret: bytes, hello: Hello) -> None:
        self._secret, self._hello = secret, hello
        self.theirs: Hello | None = None
        self.done = False

    @property
    def wire_version(self) -> int:
        """The version that both sides speak."""
        return spoken(self._hello, self.theirs)

    def check_agreed(self, request: Message) -> None:
        """Raise RemoteProtocolError for a request that is newer than the version both sides speak."""
        if request.since > self.wire_version:
            raise RemoteProtocolError(f"{type(request).__name__} was not agreed on in the handshake")

    def on_message(self, message: HandshakeMessage) -> list[HandshakeMessage]:
        """Take one message of the caller. Raises RemoteProtocolError when it must be refused."""
        match message:
            case Hello() if self.theirs is None:
                check_hello(self._hello, message)
                self.theirs = message
                mine = msgspec.structs.replace(self._hello, lane=message.lane)
                self._hello = mine
                return [mine, Proof(prove(self._secret, "listener", message, mine))]
            case Proof() if self.theirs is not None and not self.done:
                if not hmac.compare_digest(message.mac, prove(self._secret, "caller", self.theirs, self._hello)):
                    raise RemoteProtocolError("the caller does not know the cluster secret")
                self.done = True
                return [Welcome()]
            case _:
                raise RemoteProtocolError(f"{type(message).__name__} out of order in the handshake")


def spoken(ours: Hello, theirs: Hello | None) -> int:
    """Return the version of the messages that two nodes exchange."""
    return ours.wire_version if theirs is None else min(ours.wire_version, theirs.wire_version)


def check_hello(ours: Hello, theirs: Hello) -> None:
    """Raise RemoteProtocolError unless both belong to one cluster and one ring, and understand each other."""
    if abs(theirs.wire_version - ours.wire_version) > VERSIONS_APART_MAX:
        raise RemoteProtocolError(
            f"wire version {theirs.wire_version}, this node speaks {ours.wire_version}; update one version at a time"
        )
    if not is_node_name(theirs.node):
        raise RemoteProtocolError(f"{excerpt(theirs.node)} is no name of a node: {NODE_RULE}")
    if theirs.cluster != ours.cluster:
        raise RemoteProtocolError("the other node belongs to another cluster")
    if theirs.lane not in LANES or len(theirs.nonce) != NONCE_SIZE_BYTES or theirs.nonce == ours.nonce:
        raise RemoteProtocolError("a malformed hello")
    if theirs.ring_digest and ours.ring_digest and theirs.ring_digest != ours.ring_digest:
        raise RemoteProtocolError(
            "the rings differ: every node needs the same members, n and partitions in its settings"
        )
