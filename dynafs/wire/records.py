"""Records as bytes: the same on disk and between nodes, with a checksum of their own.

    0        1          5
    | format | crc32c   | msgpack [context, [version, …]]

The encoding is canonical (a VersionSet is), so equal records have equal bytes and a digest of the bytes compares them.
"""

from typing import TypeVar

import msgspec
from blake3 import blake3

from dynafs.causality import Context
from dynafs.errors import RemoteProtocolError
from dynafs.files.version import EMPTY, Record, Version, VersionKind
from dynafs.wire.seal import PREFIX_SIZE_BYTES, seal, unseal

RECORD_FORMAT = 1
#: A record holds a few versions of at most an inline file or a manifest each.
RECORD_SIZE_BYTES_MAX = 8 << 20

T = TypeVar("T")


_Plain = tuple[dict[str, int], list[Version]]
_encoder = msgspec.msgpack.Encoder()
_raw_decoder = msgspec.msgpack.Decoder(tuple[msgspec.Raw, list[list[msgspec.Raw]]])
_record_decoder: msgspec.msgpack.Decoder[_Plain] = msgspec.msgpack.Decoder(_Plain)
_context_decoder = msgspec.msgpack.Decoder(dict[str, int])
_version_decoder = msgspec.msgpack.Decoder(Version)
#: Where a version has what a listing row leaves out, what stands there instead, and what makes it a file.
_CONTENTS = tuple(Version.__struct_fields__.index(name) for name in ("inline", "manifest"))
_KIND, _FILE = Version.__struct_fields__.index("kind"), _encoder.encode(VersionKind.FILE)
_NIL = msgspec.Raw(_encoder.encode(None))


def encode_record(record: Record) -> bytes:
    """Return the canonical bytes of a record; empty for a record that says nothing."""
    if not record.context:
        return b""
    return seal(RECORD_FORMAT, _encoder.encode((record.context, record.versions)))


def decode_record(data: bytes | bytearray | memoryview) -> Record:
    """Return the record; raise RemoteProtocolError when the bytes are damaged or not a record."""
    if not data:
        return EMPTY
    context, versions = _decode(_record_decoder, data)
    return Record(context, tuple(versions))


def encode_context(context: Context) -> bytes:
    """Return a context alone, sealed like a record."""
    return seal(RECORD_FORMAT, _encoder.encode(context))


def decode_context(data: bytes | bytearray | memoryview) -> dict[str, int]:
    """Return the context; raise RemoteProtocolError when the bytes are damaged or not a context."""
    return _decode(_context_decoder, data)


def listing_row(data: bytes) -> bytes:
    """Return the record without inline bytes and chunk lists, empty when no version in it is a file. Fields are
    copied without being decoded.

    The checksum is not looked at. Bytes that are no record are returned as they are, so that a reader finds the damage.
    """
    try:
        context, versions = _raw_decoder.decode(memoryview(data)[PREFIX_SIZE_BYTES:])
        if not any(bytes(version[_KIND]) == _FILE for version in versions):
            return b""
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, IndexError):
        return data
    for version in versions:
        for field in _CONTENTS:
            if field < len(version):
                version[field] = _NIL
    return seal(RECORD_FORMAT, _encoder.encode((context, versions)))


def check_record(data: bytes) -> None:
    """Raise RemoteProtocolError when the bytes are damaged, as far as their checksum shows."""
    unseal(data, RECORD_FORMAT, "record", RECORD_SIZE_BYTES_MAX)


def encode_version(version: Version) -> bytes:
    """Return one version alone, sealed like a record."""
    return seal(RECORD_FORMAT, _encoder.encode(version))


def decode_version(data: bytes | bytearray | memoryview) -> Version:
    """Return the version; raise RemoteProtocolError when the bytes are damaged or not a version."""
    return _decode(_version_decoder, data)


def record_digest(data: bytes) -> bytes:
    """Return 16 bytes that stand for these record bytes; empty for an absent record."""
    return blake3(data).digest(16) if data else b""


def _decode(decoder: msgspec.msgpack.Decoder[T], data: bytes | bytearray | memoryview) -> T:
    payload = unseal(data, RECORD_FORMAT, "record", RECORD_SIZE_BYTES_MAX)
    try:
        return decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RemoteProtocolError(f"a record cannot be decoded: {error}") from None
