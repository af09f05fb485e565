"""Errors that only clients raise."""

from collections.abc import Mapping, Sequence
from typing import Any

from dynafs.errors.root import DynafsError


class SiblingsFound(DynafsError):
    """Versions of a file stand side by side, and the reader named none of them.

    versions: each with at least "version", its stamp. context: for the write that resolves them.
    """

    code = "siblings_found"

    def __init__(self, name: str, versions: Sequence[Mapping[str, Any]], context: str) -> None:
        stamps = [str(one["version"]) for one in versions]
        super().__init__(
            f"{name} has {len(stamps)} versions side by side: {', '.join(stamps)}; name one of them as the version",
            versions=list(versions), context=context,
        )  # fmt: skip
        self.name, self.stamps, self.versions, self.context = name, stamps, list(versions), context


class AnswerUnexpected(DynafsError):
    """The answer is none that a node gives: another status, other JSON, a listing that does not advance."""

    code = "answer_unexpected"


class SourceChanged(DynafsError):
    """A local file grew or shrank while it was sent; the upload was broken off before its end."""

    code = "source_changed"


class ContentMismatch(DynafsError):
    """The bytes that arrived are not those of the version that the node announced."""

    code = "content_mismatch"


class ServerRefused(DynafsError):
    """What a client gets for a node's error answer; `remote_code` is the node's code, `status` the HTTP status."""

    code = "server_refused"

    def __init__(self, status: int, remote_code: str, message: str, evidence: Mapping[str, object]) -> None:
        super().__init__(message, **{**evidence, "status": status, "code": remote_code})
        self.status, self.remote_code = status, remote_code


class ServerUnreachable(DynafsError):
    """What a client gets when no node answers at the URL, or the answer breaks off."""

    code = "server_unreachable"
    retryable = True
