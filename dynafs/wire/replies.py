"""Which reply belongs to which request. A peer that answers with another one is wrong, and its caller must not be."""

from dynafs.errors import RemoteProtocolError
from dynafs.wire import listing_messages as rows
from dynafs.wire import messages as m
from dynafs.wire import operator_messages as o
from dynafs.wire import ring_messages as r
from dynafs.wire.message import Message

REPLY_TYPES: dict[type[Message], type[Message]] = {
    m.ReadRecord: m.RecordReply,
    m.StoreRecord: m.Stored,
    m.StoreChunk: m.Stored,
    m.ReadChunk: m.ChunkReply,
    m.StatChunks: m.ChunkStates,
    rows.ListRecords: rows.ListReply,
    rows.ReadRows: rows.RowsReply,
    m.CommitVersion: m.CommitReply,
    m.CompareRecords: m.Differing,
    m.CompareTrees: m.Differing,
    m.ReadLeaves: m.LeafRows,
    m.PullRecords: m.PulledRecords,
    m.ScanRecords: m.ScannedRecords,
    m.ConfirmReferences: m.ChunkStates,
    m.ReleaseReferences: m.Stored,
    m.FindReferences: m.FoundReferences,
    m.FindUploads: m.Standing,
    m.ReapRecords: m.Stored,
    m.CountHints: m.HintCounts,
    r.PrepareRing: r.RingVote,
    r.AcceptRing: r.RingVote,
    r.LearnRing: m.Stored,
    r.ReadRing: r.RingReply,
    r.ReadPulled: r.Pulled,
    r.AskStatus: r.NodeStatus,
    r.AskIntroduction: r.Introduction,
    o.SetDraining: m.Stored,
    o.RestartNode: m.Stored,
    o.LimitJob: m.Stored,
}


def reply_type(request: Message) -> type[Message]:
    """Return what a request is answered with when it succeeds."""
    return REPLY_TYPES[type(request)]


def decode_reply_to(head: bytes, expected: type[Message]) -> m.Reply:
    """Return the reply; raise RemoteProtocolError when it is malformed or no reply of the expected type."""
    reply = m.decode_reply(head)
    if not isinstance(reply, expected):
        raise RemoteProtocolError(f"{type(reply).__name__} is no reply to this request")
    return reply
