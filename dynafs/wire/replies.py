"""Which reply belongs to which request, and what a reply must have besides its type. A peer that replies with something
else is wrong, and its caller must not be."""

from typing import cast, get_args

from dynafs.errors import RemoteProtocolError, ReplyUnexpected
from dynafs.wire.message import Message, Question
from dynafs.wire.messages import ChunkStates, Reply, Request, decode_reply

#: As the classes of requests declare them.
REPLY_TYPES: dict[type[Question[Message]], type[Message]] = {
    question: cast("type[Message]", get_args(question.__orig_bases__[0])[0]) for question in get_args(Request)
}


def reply_type(request: Question[Message]) -> type[Message]:
    """Return the type of the reply to a request that succeeds."""
    return REPLY_TYPES[type(request)]


def decode_reply_to(head: bytes, expected: type[Message]) -> Reply:
    """Return the reply; raise RemoteProtocolError when it is malformed or no reply of the expected type."""
    reply = decode_reply(head)
    if not isinstance(reply, expected):
        raise RemoteProtocolError(f"{type(reply).__name__} is no reply to this request")
    return reply


def states_of(reply: ChunkStates, count: int) -> list[str]:
    """Return the state of each of `count` chunks; raise ReplyUnexpected unless there are so many."""
    if len(reply.states) != count:
        raise ReplyUnexpected(f"a reply has {len(reply.states)} states for {count} chunks")
    return reply.states
