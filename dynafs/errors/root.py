"""The root of the tree."""

from typing import ClassVar


class DynafsError(Exception):
    """Root of the tree. `evidence` holds JSON-ready facts that a program may act on."""

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, **evidence: object) -> None:
        super().__init__(message)
        self.message = message
        self.evidence: dict[str, object] = evidence
