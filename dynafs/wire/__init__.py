"""WHICH bytes? Pure.

Problem: bytes between nodes and on disk outlive the code that wrote them, arrive in any slicing, and may be garbage.

Rule: one place per format, each with a version number, a size limit and one error (`RemoteProtocolError`):
`frames` (length-prefixed envelopes on a connection), `messages` (typed requests and replies, msgspec), `handshake`
(who may speak), `records` (a file's record, on disk and in flight, with its own checksum), `segments` (chunks on disk,
self-describing). Bulk bytes are received straight into their final buffer: the frame decoder hands out the memory.

Tested by round trips, any slicing, any garbage, and frozen bytes.
"""
