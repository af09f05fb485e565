"""Context tokens: what a reader of a file has seen, as text that only the cluster can make.

    base64url, without padding, of   | format | MAC | msgpack {actor: time} |
                                      0        1     17

A client gets the token with a file (X-Dynafs-Context) and sends it with its next write of that file. The context in it
decides which versions the write replaces and above which time it is stamped, so it must not be the client's claim: a
context that the cluster did not issue could replace versions that no client has read, move the clocks of nodes, and
leave actors in the record for ever. The MAC is keyed BLAKE3 over the file's key and the context; it binds the token to
the file and is the same on every node.

Alternative: accept any context and clip it to what the coordinator's record holds (min per actor, unknown actors
dropped). That needs no key, but a coordinator that is behind the node the client read from would drop what the client
has seen, and the version the client meant to replace would come back beside its write.
"""

import base64
import hashlib
import hmac
from functools import lru_cache

import msgspec
from blake3 import blake3

from dynafs.files.version import Record

TOKEN_FORMAT = b"\x01"
MAC_SIZE_BYTES = 16
#: Bytes of msgpack in a token: with MAC and base64 a header stays below 4 KiB, and all HTTP clients take 8 KiB.
SHOWN_SIZE_BYTES_MAX = 3000
#: Longer texts are refused unread.
TOKEN_LENGTH_MAX = 8192

_KEY_PURPOSE = b"dynafs context token 1\0"
_MAC_START = 1
_CONTEXT_START = _MAC_START + MAC_SIZE_BYTES
_decoder = msgspec.msgpack.Decoder(dict[str, int])


@lru_cache(maxsize=8)
def token_key(secret: str, cluster: str) -> bytes:
    """Return the key of a cluster's tokens.

    Stretched (RFC 7914, 16 MiB and some 50 ms): clients hold tokens, and could try weak cluster secrets against them.
    """
    salt = _KEY_PURPOSE + cluster.encode()
    return hashlib.scrypt(secret.encode(), salt=salt, n=1 << 14, r=8, p=1, dklen=32)


class ContextTokens:
    """Makes and checks the tokens of one cluster."""

    def __init__(self, key: bytes) -> None:
        """key: 32 bytes, from `token_key`."""
        self._key = key

    def issue(self, file_key: bytes, record: Record, size_bytes_max: int = SHOWN_SIZE_BYTES_MAX) -> str:
        """Return the token for a reader of this record of a file, at most 4 KiB long. size_bytes_max: of the context in
        it."""
        packed = msgspec.msgpack.encode(record.shown_context(size_bytes_max))
        token = TOKEN_FORMAT + self._mac(file_key, packed) + packed
        return base64.urlsafe_b64encode(token).rstrip(b"=").decode()

    def read(self, file_key: bytes, text: str) -> dict[str, int] | None:
        """Return the context in a token, None unless this cluster issued it for this file."""
        if len(text) > TOKEN_LENGTH_MAX:
            return None
        try:
            token = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except ValueError:
            return None
        mac, packed = token[_MAC_START:_CONTEXT_START], token[_CONTEXT_START:]
        if token[:_MAC_START] != TOKEN_FORMAT or not hmac.compare_digest(mac, self._mac(file_key, packed)):
            return None
        return _decoder.decode(packed)

    def _mac(self, file_key: bytes, packed: bytes) -> bytes:
        size = len(file_key).to_bytes(8, "big")
        return blake3(size + file_key + packed, key=self._key).digest(MAC_SIZE_BYTES)
