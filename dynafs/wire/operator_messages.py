"""Messages by which a node passes on what an operator asked it for, about another node."""

from typing import ClassVar

from dynafs.wire.message import Question, Stored


class SetDraining(Question[Stored], frozen=True):
    """Go out of service, or back into it. Answered with Stored."""

    since: ClassVar[int] = 2

    is_on: bool


class RestartNode(Question[Stored], frozen=True):
    """Stop, and start again in the same process. Answered with Stored before that happens."""

    since: ClassVar[int] = 2


class LimitJob(Question[Stored], frozen=True):
    """Set the pace of a background job; 0 leaves it to the job. Answered with Stored."""

    since: ClassVar[int] = 2

    name: str
    bytes_per_s_max: int


#: What operators have nodes do.
OperatorRequest = SetDraining | RestartNode | LimitJob
