"""Requests byte for byte, for what client libraries do not send or do not show."""

import asyncio
from typing import NamedTuple

Field = tuple[str, str | bytes]


class Answer(NamedTuple):
    """A response. fields: (lower-case name, raw value) in the order in which they came."""

    status: int
    fields: list[tuple[str, bytes]]
    body: bytes

    def values(self, name: str) -> list[bytes]:
        return [value for field, value in self.fields if field == name.lower()]

    def value(self, name: str) -> str | None:
        found = self.values(name)
        assert len(found) <= 1, found
        return found[0].decode() if found else None


async def ask(
    port: int, method: str, path: str | bytes, *fields: Field, body: bytes | None = None, version: str = "1.1"
) -> Answer:
    """Send one request on a connection of its own; a body gets its Content-Length unless a transfer coding is given."""
    target = path if isinstance(path, bytes) else path.encode()
    lines = [b"%s %s HTTP/%s" % (method.encode(), target, version.encode()), b"Host: 127.0.0.1", b"Connection: close"]
    lines += [b"%s: %s" % (name.encode(), v if isinstance(v, bytes) else v.encode()) for name, v in fields]
    if body is not None and not any(name.lower() == "transfer-encoding" for name, _ in fields):
        lines.append(b"Content-Length: %d" % len(body))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + (body or b""))
    async with asyncio.timeout(10):
        whole = await reader.read()
    writer.close()
    head, _, rest = whole.partition(b"\r\n\r\n")
    status, *found = head.split(b"\r\n")
    pairs = [line.partition(b": ") for line in found]
    return Answer(int(status.split()[1]), [(name.decode().lower(), value) for name, _, value in pairs], rest)
