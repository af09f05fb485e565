"""What all messages between nodes are."""

import msgspec


class Message(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Root of all messages; the tag is the class name."""
