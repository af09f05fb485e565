"""Log events. A name is `noun.past_participle`; values are fields with units; no prose.

error: an invariant or data is at risk. warning: degraded and handled. info: worth a line in an operator's diary.
debug: per request.
"""

import logging
import sys
from typing import Any

import structlog

#: Characters kept of a library's message.
LIBRARY_MESSAGE_SIZE_MAX = 2000
#: {event: what happened}. A test checks that every event logged anywhere is listed here, and every listed one is used.
CATALOGUE = {
    "node.started": "the node is listening",
    "node.stopped": "the node has closed its data directory",
    "node.disk_lost": "a peer knew this node with another data directory; it answers no reads until it is refilled",
    "node.refilled": "a node that started with an empty disk has pulled the records of its peers",
    "node.refill_delayed": "a peer could not be pulled from; it is tried again (debug)",
    "node.seeking": "a node without members in its settings asks its seeds which cluster it is to join",
    "node.draining": "the node is being taken out of service; it serves whoever still asks",
    "node.hints_kept": "the node stops with hints for others on its disk; they go on when it is back",
    "node.resumed": "the node is back in service",
    "node.restarting": "the node stops to start again, as an operator asked",
    "gossip.doubted": "a peer does not answer gossip; reads ask it last",
    "gossip.moved": "the port that a node gossiped at before is in use; it takes another one",
    "gossip.name_refused": "a member of the gossip has a name that no node can have; it is left out",
    "gossip.name_taken": "two nodes of one name gossip; the later one is not heard",
    "gossip.troubled": "gossip warns of something",
    "gossip.unanswered": "a peer could not be met for gossip; it is tried again (debug)",
    "seed.unanswered": "a seed does not answer; it is asked again until one does",
    "settings.exposed": "every user of the machine can read the secrets in the settings file; chmod it to 0600",
    "prompt.opened": "an operator attached to the node",
    "node.failed": "the node cannot start or go on",
    "http.answered": "a client request was answered (debug)",
    "http.failed": "a client request met a bug of ours",
    "http.refused": "a client sent bytes that are not HTTP or break a limit; at most one line a second per address",
    "connections.limited": "a limit of client connections is reached: idle ones are closed, then new ones refused",
    "library.warned": "Python or a library warns of something",
    "library.failed": "a library reports an error",
    "download.aborted": "a connection was cut mid-stream: a chunk could not be had, or the client took too little",
    "bucket.made": "the first PUT made a bucket",
    "peer.connected": "a proved connection to a peer stands",
    "peer.disconnected": "the last connection to a peer ended",
    "peer.refused": "a caller was turned away: wrong secret, cluster or ring, or no frames (paced by address)",
    "peer.misbehaved": "a proved peer broke the protocol: its request was refused, or it was cut off (paced by peer)",
    "peer.request_failed": "a peer's request met a bug of ours",
    "peer.reply_dropped": "an answer to a peer was too large to send; the peer got an error instead",
    "peer.connection_failed": "a connection to a peer met a bug of ours and was closed",
    "record.repaired": "a read brought stale owners up to date",
    "record.repair_failed": "a stale owner could not be brought up to date",
    "record.corrupt": "a stored record, or another row of the index, is damaged; `what` says which",
    "chunk.quarantined": "a stored chunk does not hash to its name and is no longer served",
    "chunk.repaired": "an owner got a good copy of a chunk it lacked",
    "chunk.repair_failed": "an owner could not be given a good copy",
    "chunk.collected": "a chunk that nothing used any more was removed (debug)",
    "reference.release_failed": "the owners of a replaced upload were not told; its references age instead (debug)",
    "tree.corrected": "a record was not in its tree as it is; it was written anew",
    "ring.learned": "another state of the ring stands",
    "ring.remembered": "a node that lost its disk knows again which ring stands",
    "segment.removed": "a segment that was mostly dead was written anew",
    "directory.tightened": "other users of the machine could read the data directory; they cannot any more",
    "directory.exposed": "other users can look into the data directory, which is not this node's alone to change",
    "job.failed": "a run of a background job met a bug; it runs again after a growing pause",
    "task.failed": "a bug ended a task or a round of it; what lasts as long as the node starts again",
    "loop.troubled": "the event loop warns of something",
    "disk.filled": "the disk reached a mark; see storage.soft_mark and its neighbours",
    "disk.freed": "the disk is below a mark again",
    "store.opened": "the data directory is open",
    "store.recovered": "entries of a segment were missing in the index and were added",
    "store.mended": "the index was opened anew after a write had failed; writes go on",
    "store.close_failed": "a failed index could not be closed in order (debug)",
    "store.flush_failed": "the index could not begin to write out its newest rows; its next write reports why (debug)",
    "store.failed": "the operating system failed a write",
    "commit.failed": "writes of one batch failed because of a bug",
    "commit.stopped": "a bug ended a commit thread; the node takes no more writes of its kind until it starts again",
}


def configure_logs(level: str, style: str, **bound: Any) -> None:
    """Set structlog up for this process; `bound` fields appear on every line. style: auto, console or json."""
    is_console = style == "console" or (style == "auto" and sys.stderr.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer() if is_console else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(**bound)
    logging.captureWarnings(capture=True)
    logging.getLogger().handlers = [_LibraryLog(logging.WARNING)]


class _LibraryLog(logging.Handler):
    """Turns what libraries log, and Python's warnings, into events, so that the log has one format."""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()[:LIBRARY_MESSAGE_SIZE_MAX]
        fields = {"logger": record.name, "message": message, "exc_info": record.exc_info}
        if record.levelno >= logging.ERROR:
            get_logger().error("library.failed", **fields)
        else:
            get_logger().warning("library.warned", **fields)


def get_logger() -> Any:
    """Return the logger; configured lazily, so modules may hold one from import."""
    return structlog.get_logger()
