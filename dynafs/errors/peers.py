"""Errors of what crosses connections between nodes: bytes that break the protocol, calls that bring no answer."""

from collections.abc import Mapping

from dynafs.errors.root import DynafsError


class ProtocolError(DynafsError):
    """Bytes that break the node-to-node protocol or a format on disk."""


class RemoteProtocolError(ProtocolError):
    """They were wrong: malformed, too large, out of order or unauthenticated. The connection closes."""

    code = "remote_protocol_error"


class LocalProtocolError(ProtocolError):
    """We were wrong: something we tried to send cannot be sent."""

    code = "local_protocol_error"


class ReplyTooLarge(ProtocolError):
    """The answer to a request does not fit into a frame; the request failed, the connection goes on."""

    code = "reply_too_large"


class ReplyUnexpected(ProtocolError):
    """A peer's reply is well-formed and does not fit the request; it counts as none."""

    code = "reply_unexpected"


class PeerError(DynafsError):
    """A call to a peer did not bring an answer."""

    retryable = True

    def __init__(self, message: str, node: str, **evidence: object) -> None:
        super().__init__(message, node=node, **evidence)
        self.node = node


class PeerUnreachable(PeerError):
    """No connection to the peer, or it broke before the answer came. `is_sent`: the peer may have got the request."""

    code = "peer_unreachable"

    def __init__(self, node: str, reason: str, *, is_sent: bool = False) -> None:
        super().__init__(f"node {node} is unreachable: {reason}", node, reason=reason)
        self.reason, self.is_sent = reason, is_sent


class PeerTimeout(PeerError):
    """The peer did not answer in time."""

    code = "peer_timeout"

    def __init__(self, node: str, after_s: float) -> None:
        super().__init__(f"node {node} did not answer within {after_s:g} s", node, after_s=after_s)


class PeerOverloaded(PeerError):
    """Too many calls to this peer are under way already."""

    code = "peer_overloaded"


class RequestTooLarge(PeerError):
    """The request does not fit into a frame; nothing was sent."""

    code = "request_too_large"
    retryable = False

    def __init__(self, node: str, reason: str) -> None:
        super().__init__(f"a request to node {node} was not sent: {reason}", node, reason=reason)


class PeerOutdated(PeerError):
    """The peer runs an older version, which does not know this request."""

    code = "peer_outdated"
    retryable = False

    def __init__(self, node: str, request: str) -> None:
        super().__init__(f"node {node} runs an older version that does not know {request}; update it first", node)


class PeerRefused(PeerError):
    """The peer answered with an error; `remote_code` is that error's code."""

    code = "peer_refused"

    def __init__(self, node: str, remote_code: str, message: str, remote: Mapping[str, object]) -> None:
        super().__init__(f"node {node} refused: {message}", node, remote_code=remote_code)
        self.remote_code, self.remote_message = remote_code, message
        #: the remote error's evidence
        self.remote = remote


def failure_code(error: BaseException | None) -> str:
    """Return the code by which a failed node is reported; a peer's own error keeps the peer's code."""
    if isinstance(error, PeerRefused):
        return error.remote_code
    return error.code if isinstance(error, DynafsError) else "internal_error"
