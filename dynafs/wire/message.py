"""What all messages between nodes are: questions, and the replies to them."""

from typing import ClassVar, Generic, TypeVar

import msgspec


class Message(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Root of all messages; the tag is the class name. since: the first wire version that has it."""

    since: ClassVar[int] = 1


R_co = TypeVar("R_co", bound=Message, covariant=True)


class Question(Message, Generic[R_co], frozen=True):
    """A request that a reply of type R_co answers."""


class Stored(Message, frozen=True):
    """It is on this node's disk."""
