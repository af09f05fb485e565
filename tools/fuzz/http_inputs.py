"""Requests: whole ones with odd parts, forms, staged changes; and bytes that are no requests any more."""

import json
import random
from urllib.parse import quote

from tools.fuzz.inputs import NUMBERS, json_value, mutated, text

#: An operator's commands that would take a node away, and with it what is measured.
LEFT_OUT = (b"restart", b"drain")
METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "get", "PRI")
PATHS = (
    "/v1/files/fuzz/a", "/v1/files/fuzz/dir/b", "/v1/files/fuzz", "/v1/files", "/v1/files/", "/v1/files/both/a",
    "/v1/metadata/fuzz/a", "/v1/chunks/{id}", "/v1/buckets/both", "/v1/buckets/fuzz", "/v1/ring", "/v1/ring/status",
    "/v1/ring/locate/fuzz/a", "/v1/explain/fuzz/a", "/v1/ring/plan", "/v1/ring/history", "/v1/ring/transfers",
    "/v1/cluster", "/v1/jobs", "/v1/jobs/scrub/start", "/v1/jobs/ring/limit", "/v1/jobs/census/pause",
    "/v1/jobs/census/resume", "/v1/hints", "/v1/census", "/v1/ring/throttle", "/v1/ring/cancel", "/v1/nodes/n1/resume",
    "/healthz", "/readyz", "/metrics", "/openapi.json", "/", "*", "http://127.0.0.1/v1/files/fuzz/a", "//x", "/v1/../x",
)  # fmt: skip
QUERIES = ("r", "w", "consistency", "prefix", "delimiter", "limit", "cursor", "version", "first", "deep",
           "bytes_per_s_max", "for_restart", "x")  # fmt: skip
HEADERS = (
    "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Range", "Content-Range",
    "Content-Type", "Content-MD5", "Repr-Digest", "Content-Digest", "X-Content-Blake3", "X-Dynafs-Context", "X-Meta-A",
    "Content-Encoding", "Content-Language", "Content-Disposition", "Cache-Control", "Expires",
    "Expect", "Connection", "Origin", "Sec-Fetch-Site", "Authorization", "TE", "Trailer", "Upgrade", "Cookie",
    "X-Forwarded-For",
)  # fmt: skip
#: Headers that end nearly every request in a refusal.
FRAMING = ("Host", "Content-Length", "Transfer-Encoding", "Content-Range", "Expect")
VALUES = (
    '"x"', '*', 'W/"a", "b"', ",,", "bytes=0-1", "bytes=-1", "bytes=9-", "Bytes=0-0,2-2", "bytes=" + "0-0," * 40,
    "bytes 8-9/10", "Tue, 15 Nov 1994 08:12:31 GMT", "Tue, 15 Nov 1994 08:12:31 +9999", "100-continue", "gzip, chunked",
    "chunked", "close", "identity", "sha-256=:AAAA:", "md5=:1B2M2Y8AsgTpgAmY7PhCfg==:", "gqFhAaFiAg==", "null",
    "http://evil.example", "cross-site", "multipart/form-data; boundary=b", 'multipart/form-data; boundary="b\xff"',
    "bearer x", "application/json; charset=\x80", "max-age=1", "127.0.0.1:1", "[::1]", "LOCALHOST",
)  # fmt: skip
WORDS = (
    b"\r\n", b"\n", b"\r", b"\x00", b" ", b":", b"%", b"\xff\xfe", b"chunked", b"0\r\n\r\n", b"HTTP/1.0", b"HTTP/2.0",
    b"Host: x\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"..",
    b"?", b"\t", b"--b\r\n", b"--b--\r\n", b"%00", b"A" * 9000, b"GET / HTTP/1.1\r\n", b"{", b"[" * 2000, b'"', b",",
)  # fmt: skip


def request(rng: random.Random) -> bytes:
    """Return a request with odd parts, or the mutated bytes of one."""
    data = _whole(rng)
    if rng.random() < 0.3:
        data = mutated(rng, data, WORDS)
    return b"" if any(word in data for word in LEFT_OUT) else data


def form(rng: random.Random) -> bytes:
    """Return a multipart form, well made or not."""
    parts = []
    for _ in range(rng.choice((0, 1, 1, 2, 2, 5, 200, 2000))):
        disposition = f'form-data; name="{text(rng)}"'
        if rng.random() < 0.4:
            disposition += f"; filename={rng.choice(('', '*=UTF-8%27%27'))}{json.dumps(text(rng))}"
        lines = [f"Content-Disposition: {disposition}"] if rng.random() < 0.98 else []
        lines += _headers(rng, rng.choice((0,) * 12 + (1, 3)))
        contents = rng.randbytes(rng.choice((0, 1, 50, 5000))).decode("latin-1")
        parts.append("--b\r\n" + "\r\n".join(lines) + "\r\n\r\n" + contents + "\r\n")
    preamble = "\r\n" * rng.choice((0, 0, 0, 1, 1000, 100_000))
    body = (preamble + "".join(parts) + rng.choice(("--b--\r\n", "--b--", "", "--b"))).encode("utf-8", "replace")
    if rng.random() < 0.3:
        body = mutated(rng, body, WORDS)
    path = rng.choice(("/v1/files/fuzz", "/v1/files/fuzz/in", "/v1/files/both/", "/v1/files/fuzz/%ff"))
    kind = rng.choice(
        ("multipart/form-data; boundary=b",) * 8 + ('multipart/form-data; boundary="b"', "multipart/x", "m")
    )
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    lines += _headers(rng, rng.choice((0, 0, 0, 1)))
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace") + body


def change(rng: random.Random) -> bytes:
    """Return a change to be staged, a policy of a bucket, or a plan to commit to: JSON that is nearly right."""
    path = rng.choice(
        ("/v1/ring/stage",) * 4 + ("/v1/ring/commit", "/v1/buckets/both", f"/v1/buckets/f{rng.randrange(9)}")
    )
    if path.startswith("/v1/buckets"):
        names = ("r", "w", "chunk_size_bytes", "consistency", "conflict")
        values: tuple[object, ...] = (1, 2, 3, "available", "strong", "keep-both", 1 << 20, 65536)
    else:
        names = ("kind", "node", "by", "weight", "zone", "address", "hash")
        values = ("join", "leave", "weight", "zone", "n1", "n3", "n9", "127.0.0.1:1", 1.0, 2, "x")
    share = rng.choice((0.1, 0.3, 0.6))
    told: dict[str, object] = {
        name: rng.choice(values) if rng.random() < 0.8 else json_value(rng)
        for name in (*names, text(rng))
        if rng.random() < share
    }
    if path.endswith("stage"):
        told |= {"kind": rng.choice(values[:4]), "node": rng.choice(values[4:7])}
    body = json.dumps(told).encode("utf-8", "surrogatepass")
    if rng.random() < 0.3:
        body = mutated(rng, body, (*WORDS, b"NaN", b"Infinity", b"1e999", b"\\ud800"))
    if rng.random() < 0.05:
        body = rng.choice((b"[", b'{"a":')) * rng.choice((100, 1900, 4000))
    method = "PUT" if path.startswith("/v1/buckets") else "POST"
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _whole(rng: random.Random) -> bytes:
    path = rng.choice(PATHS).replace("{id}", rng.randbytes(32).hex())
    if rng.random() < 0.3:
        path += "/" + quote(text(rng).encode("utf-8", "surrogatepass"), safe="/%?&")
    query = "&".join(
        f"{rng.choice(QUERIES)}={quote(_odd(rng), safe=rng.choice(('', '%')))}" for _ in range(rng.choice((0, 0, 1, 3)))
    )
    body = rng.randbytes(rng.choice((0, 0, 2, 100, 70_000)))
    version = rng.choice(("HTTP/1.1",) * 12 + ("HTTP/1.0", "HTTP/2.0", "HTTP/1.2", "http/1.1", "HTTP/1.1 x", ""))
    lines = [f"{rng.choice(METHODS)} {path}{'?' if query else ''}{query} {version}", "Host: 127.0.0.1"]
    if body or rng.random() < 0.5:
        lines.append(f"Content-Length: {len(body) + rng.choice((0, 0, 0, 0, 1, -1))}")
    lines += _headers(rng, rng.choice((0, 0, 0, 1, 1, 2, 5, 60)))
    if rng.random() < 0.1:
        lines.append(f"{rng.choice(FRAMING)}: {rng.choice((_odd(rng), *VALUES))}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace") + body


def _headers(rng: random.Random, count: int) -> list[str]:
    return [f"{rng.choice(HEADERS)}: {_odd(rng) if rng.random() < 0.4 else rng.choice(VALUES)}" for _ in range(count)]


def _odd(rng: random.Random) -> str:
    return rng.choice((*NUMBERS, text(rng), text(rng))).encode("utf-8", "replace").decode("latin-1")
