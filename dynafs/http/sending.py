"""Contents out: streams of chunks to clients that may not take them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from secrets import token_hex
from typing import NamedTuple

from aiohttp import web

from dynafs.config import HttpSettings
from dynafs.coordinator.download import Download
from dynafs.coordinator.files import FileReader
from dynafs.errors import DynafsError
from dynafs.files import FileName, Version
from dynafs.files.ranges import ByteRange
from dynafs.http.pace import Pace
from dynafs.http.rendering import part_headers
from dynafs.observe.events import get_logger

log = get_logger()

#: How often it is looked how much a client took.
LOOK_EVERY_S = 0.5


Data = bytes | bytearray | memoryview


class _Multipart(NamedTuple):
    """The frame of several ranges (RFC 9110 section 14.6): what comes before each, and after all."""

    content_type: str
    heads: list[bytes]
    tail: bytes


class Sender:
    """Sends parts of files. One per node."""

    def __init__(self, files: FileReader, settings: HttpSettings) -> None:
        self._files, self._settings = files, settings

    async def send(
        self,
        request: web.BaseRequest,
        name: FileName,
        version: Version,
        ranges: Sequence[ByteRange],
        response: web.StreamResponse,
    ) -> web.StreamResponse:
        """Send one range as the body of the response, or several as multipart/byteranges. Every chunk is read once."""
        frame = _frame(version, ranges, part_headers(response.headers)) if len(ranges) > 1 else None
        size_bytes = sum(stop - start for start, stop in ranges)
        if frame is not None:
            response.headers["Content-Type"] = frame.content_type
            size_bytes += sum(map(len, frame.heads)) + len(frame.tail)
        response.content_length = size_bytes
        outflow = Outflow(request, self._settings, name)
        download = await self._files.open(name, version, ranges, outflow)
        try:
            return await outflow.send(response, _framed(download, frame), download)
        finally:
            download.close()


async def _framed(download: Download, frame: _Multipart | None) -> AsyncIterator[Data]:
    """Yield what a download brings, in the frame of several ranges if there is one."""
    begun = -1
    async for number, data in download.pieces():
        if frame is not None and number > begun:
            begun = number
            yield frame.heads[number]
        yield data
    if frame is not None:
        yield frame.tail


async def whole(body: Data) -> AsyncIterator[Data]:
    """Yield a body that is at hand."""
    yield body


class Outflow(Pace):
    """A client that takes a response. While it is watched, one that takes too little is cut, with one event."""

    __slots__ = ("_download", "_fields", "_offered_bytes", "_request", "_taken_bytes", "_timer")

    def __init__(self, request: web.BaseRequest, settings: HttpSettings, name: FileName | None = None) -> None:
        """name: what is sent, for the event."""
        super().__init__(request.remote or "", settings)
        self._request = request
        self._fields = {} if name is None else {"bucket": name.bucket, "path": name.path}
        self._offered_bytes = self._taken_bytes = 0
        self._download: Download | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def send(
        self, response: web.StreamResponse, pieces: AsyncIterator[Data], download: Download | None = None
    ) -> web.StreamResponse:
        """Send a body; return the response also when it broke off, which ends the connection. download: where the
        pieces come from."""
        self._download = download
        self._schedule()
        try:
            await response.prepare(self._request)
            async for data in pieces:
                await self._write(response, data)
            await self._end(response)
        except DynafsError as error:
            self._abort(error.code)
        except ConnectionError:
            # Whether the client went away or was cut: there is nothing to answer, and nothing more to log.
            response.force_close()
        finally:
            if self._timer is not None:
                self._timer.cancel()
        return response

    async def _write(self, response: web.StreamResponse, data: Data) -> None:
        """Write bytes and wait until the client has taken most of them. Raises ConnectionError when it is gone."""
        self._offered_bytes += len(data)
        self.begin_wait()
        try:
            await response.write(data)
        finally:
            self.end_wait()
        self._check()

    async def _end(self, response: web.StreamResponse) -> None:
        """End the response."""
        self.begin_wait()
        try:
            await response.write_eof()
        finally:
            self.end_wait()
        self._check()

    def _check(self) -> None:
        if self.is_cut:
            raise ConnectionResetError("the client was cut: it took too little")

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY_S, self._look)

    def _look(self) -> None:
        transport = self._request.transport
        if transport is None or self.is_cut:
            return
        taken_bytes = self._offered_bytes - transport.get_write_buffer_size()
        if taken_bytes > self._taken_bytes:
            self.move(taken_bytes - self._taken_bytes)
            self._taken_bytes = taken_bytes
        if self.is_waited_for:
            if self.is_too_slow or self.lag_s() >= self._stall_timeout_s:
                self.cut()
                return
            if self._download is not None:
                self._download.drop_ahead()
        self._schedule()

    def cut(self) -> None:
        """Give the client up: it takes too little."""
        if not self.is_cut:
            super().cut()
            self._abort("client_stalled")

    def _abort(self, code: str) -> None:
        """Close the connection in the middle of the body, so that it does not pass for a whole one."""
        log.warning("download.aborted", **self._fields, code=code)
        if self._request.transport is not None:
            self._request.transport.abort()


def _frame(version: Version, ranges: Sequence[ByteRange], described: str) -> _Multipart:
    boundary = token_hex(16)
    heads = [
        f"\r\n--{boundary}\r\n{described}"
        f"Content-Range: bytes {one.start}-{one.stop - 1}/{version.size_bytes}\r\n\r\n".encode()
        for one in ranges
    ]
    return _Multipart(f"multipart/byteranges; boundary={boundary}", heads, f"\r\n--{boundary}--\r\n".encode())
