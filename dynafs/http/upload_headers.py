"""What the headers of an upload say of its file: type, metadata, header fields to give back, digests to check."""

import base64
import binascii
import re
from collections.abc import Iterable

from dynafs.coordinator.upload import ExpectedDigest
from dynafs.errors import NotSupported, RequestInvalid
from dynafs.files.version import HEADER_FIELDS
from dynafs.http.fields import Headers, items_of
from dynafs.http.rendering import META_PREFIX

#: Of the names and values of metadata and header fields, all together.
METADATA_SIZE_BYTES_MAX = 4096
CONTENT_TYPE_SIZE_BYTES_MAX = 256
DEFAULT_CONTENT_TYPE = "application/octet-stream"

#: What no value may hold: control characters but tab, line separators, and bytes that are not UTF-8 (which arrive as
#: lone surrogates). Format characters such as ZWNJ, ZWJ and the soft hyphen are part of words and emoji.
_UNPRINTABLE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CODING = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_FIELDS = {name.lower(): name for name in HEADER_FIELDS}
_META_PREFIX = META_PREFIX.lower()
#: S3's prefix of metadata, which is not kept.
FOREIGN_META_PREFIX = "x-amz-meta-"

_DIGEST_SIZES = {"md5": 16, "sha-256": 32, "blake3": 32}
#: An entry of Repr-Digest and Content-Digest; parameters mean nothing (RFC 9530 section 2).
_DIGEST_ENTRY = re.compile(r"([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/=]*):(?:[ \t]*;.*)?")
#: An entry of the older Digest (RFC 3230).
_OLD_DIGEST_ENTRY = re.compile(r"([A-Za-z0-9-]+)=([A-Za-z0-9+/=]+)")


def content_type_of(headers: Headers) -> str:
    """Return the content type to keep. Tab is white space in it (RFC 9110 section 5.6.3)."""
    value = headers.get("Content-Type") or DEFAULT_CONTENT_TYPE
    if len(value) > CONTENT_TYPE_SIZE_BYTES_MAX or _UNPRINTABLE.search(value):
        raise RequestInvalid("Content-Type", f"use at most {CONTENT_TYPE_SIZE_BYTES_MAX} printable characters")
    return value


def metadata_of(headers: Headers) -> dict[str, str]:
    """Return what a version keeps: X-Meta-* under lower-case names without the prefix, header fields under their own
    names. Lines of one name are one list. Raises RequestInvalid, NotSupported."""
    found = {**user_metadata_of(headers), **header_fields_of(headers)}
    if found:
        check_metadata_size(found)
    return found


def user_metadata_of(headers: Headers) -> dict[str, str]:
    """Return the X-Meta-* fields, lower-case and without their prefix, not yet checked for their size."""
    found = {}
    for name in headers:
        lower = name.lower()
        if not lower.startswith(_META_PREFIX):
            if lower.startswith(FOREIGN_META_PREFIX):
                field = lower.title()
                raise NotSupported(f"{field}: this is no S3 gateway; use {META_PREFIX}NAME", field=field)
            continue
        value = ", ".join(headers.getall(name))
        if lower == _META_PREFIX or "\t" in value or _UNPRINTABLE.search(value):
            raise RequestInvalid(META_PREFIX + lower[len(_META_PREFIX) :], "use a name and printable UTF-8")
        found[lower[len(_META_PREFIX) :]] = value
    return found


def header_fields_of(headers: Headers) -> dict[str, str]:
    """Return the header fields that come back with the file, not yet checked for their size."""
    found = {}
    for name in headers:
        field = _HEADER_FIELDS.get(name.lower())
        if field is None or not (value := ", ".join(filter(None, headers.getall(name)))):
            continue
        if _UNPRINTABLE.search(value):
            raise RequestInvalid(field, "use printable UTF-8")
        if field == "Content-Encoding":
            _check_codings(value)
        found[field] = value
    return found


def check_metadata_size(metadata: dict[str, str]) -> None:
    """Raise RequestInvalid when a version cannot keep that much."""
    size_bytes = sum(len(name) + len(value.encode()) for name, value in metadata.items())
    if size_bytes > METADATA_SIZE_BYTES_MAX:
        raise RequestInvalid(
            f"{META_PREFIX}*",
            f"{size_bytes} bytes of metadata and header fields, at most {METADATA_SIZE_BYTES_MAX} are kept",
        )


def _check_codings(value: str) -> None:
    # Empty elements are no fault (RFC 9110 section 5.6.1).
    codings = [coding for item in value.lower().split(",") if (coding := item.strip(" \t"))]
    if not codings or not all(map(_CODING.fullmatch, codings)):
        raise RequestInvalid("Content-Encoding", "use a list of content codings, such as gzip")
    if "aws-chunked" in codings:
        # No coding of the file but a framing with signatures, which S3 takes off before it stores.
        raise NotSupported(
            "Content-Encoding: aws-chunked is not decoded; send the plain contents", field="Content-Encoding"
        )


def expected_digests(headers: Headers) -> tuple[ExpectedDigest, ...]:
    """Return what the client says the body hashes to: Content-MD5, X-Content-Blake3, Repr-Digest and Content-Digest
    (RFC 9530), Digest (RFC 3230).

    The body of an upload is both the content and the whole representation, so that the latter three are of the same
    bytes. Of several algorithms in one field those that are known are checked; none of them known raises NotSupported.
    """
    found = []
    if (text := headers.get("Content-MD5")) is not None:
        found.append(_expected("Content-MD5", "md5", text, is_hex=False))
    if (text := headers.get("X-Content-Blake3")) is not None:
        found.append(_expected("X-Content-Blake3", "blake3", text, is_hex=True))
    for field in ("Repr-Digest", "Content-Digest"):
        if field in headers:
            found += _listed(field, items_of(headers, field), _DIGEST_ENTRY, "ALGORITHM=:BASE64:")
    if "Digest" in headers:
        found += _listed("Digest", items_of(headers, "Digest"), _OLD_DIGEST_ENTRY, "ALGORITHM=BASE64")
    return tuple(found)


def _listed(field: str, items: Iterable[str], entry: re.Pattern[str], form: str) -> list[ExpectedDigest]:
    found, unknown = [], []
    for item in items:
        match = entry.fullmatch(item)
        if match is None:
            raise RequestInvalid(field, f"use {form}")
        algorithm = match[1].lower()
        if algorithm in ("sha-256", "md5"):
            found.append(_expected(field, algorithm, match[2], is_hex=False))
        else:
            unknown.append(algorithm)
    if unknown and not found:
        raise NotSupported(f"{field}: {unknown[0]} is not checked; use sha-256", field=field)
    return found


def _expected(field: str, algorithm: str, text: str, *, is_hex: bool) -> ExpectedDigest:
    try:
        digest = bytes.fromhex(text) if is_hex else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        digest = b""
    if len(digest) != _DIGEST_SIZES[algorithm]:
        form = "hexadecimal" if is_hex else "base64"
        raise RequestInvalid(field, f"not a {algorithm} digest in {form}")
    return ExpectedDigest(field, algorithm, digest)
