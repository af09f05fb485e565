"""What all messages between nodes are."""

from typing import ClassVar

import msgspec


class Message(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Root of all messages; the tag is the class name. since: the first wire version that has it."""

    since: ClassVar[int] = 1
