"""multipart/form-data (RFC 7578) as files that stream.

Problem: a parser that does not wait while it has bytes holds the event loop for as long as a client likes.

Rule: the body is parsed in slices of SLICE_SIZE_BYTES, and the event loop gets a turn after each. What no form needs is
bounded: how many fields there are, the headers of a part, and what stands before the first part and behind the last.

Alternatives: aiohttp's own reader takes line after line out of its buffer without a turn, one per line of a preamble.

Tested: tests/http/test_forms.py.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

from multidict import CIMultiDict
from multipart import MultipartError, MultipartSegment, PushMultipartParser

from dynafs.errors import RequestInvalid
from dynafs.http.disposition import filename_of

SLICE_SIZE_BYTES = 64 << 10
#: Before the first part, between two parts (headers too), and behind the last.
OUTSIDE_SIZE_BYTES_MAX = 64 << 10
HEADER_LINE_SIZE_BYTES_MAX = 8 << 10
HEADER_LINES_MAX = 40
HEADERS_SIZE_BYTES_MAX = 16 << 10
#: Plain fields beside the files are read over; a form has few and small ones.
FIELDS_MAX = 100
FIELD_SIZE_BYTES_MAX = 64 << 10

_END = object()


class FilePart(NamedTuple):
    """A file in a form. filename: as the client gives it, not empty. headers: of the part, without its disposition."""

    filename: str
    headers: CIMultiDict[str]


class Form:
    """The files of a form, one after the other: `next_file`, then `pieces`."""

    def __init__(self, boundary: str, body: AsyncIterator[bytes], file_fields_max: int) -> None:
        """file_fields_max: how many files, and file fields left empty, the form may have."""
        self._body, self._file_fields_max = body, file_fields_max
        self._parser = PushMultipartParser(
            boundary, max_header_size=HEADER_LINE_SIZE_BYTES_MAX, max_header_count=HEADER_LINES_MAX
        )
        self._events = self._parse()
        #: whether a part has begun that has not ended
        self._is_inside = False
        self._field_count = self._file_field_count = 0

    async def next_file(self) -> FilePart | None:
        """Return the next file, None at the end; what is left of the one before is skipped. Raises RequestInvalid, and
        what the body raises."""
        while True:
            async for _ in self.pieces():
                pass
            segment = await self._next_event()
            if segment is _END:
                return None
            assert isinstance(segment, MultipartSegment)
            headers = _headers_of(segment)
            filename = filename_of(headers.pop("Content-Disposition"))
            self._count(is_file=filename is not None)
            if filename:
                return FilePart(filename, headers)
            await self._skip(filename, headers)

    def _count(self, *, is_file: bool) -> None:
        if is_file:
            self._file_field_count += 1
            if self._file_field_count > self._file_fields_max:
                raise RequestInvalid("body", f"at most {self._file_fields_max} files in one form")
        else:
            self._field_count += 1
            if self._field_count > FIELDS_MAX:
                raise RequestInvalid("body", f"at most {FIELDS_MAX} fields without a file in one form")

    async def _skip(self, filename: str | None, headers: CIMultiDict[str]) -> None:
        """Read over a plain field, or a file field that was left empty: browsers send that without a name or bytes."""
        if headers.get("Content-Type", "").lower().startswith("multipart/"):
            raise RequestInvalid("body", "nested multipart is not supported; send each file as a part of the form")
        size_bytes = 0
        async for piece in self.pieces():
            size_bytes += len(piece)
            if filename is not None:
                raise RequestInvalid("filename", "a file that has contents needs a name")
            if size_bytes > FIELD_SIZE_BYTES_MAX:
                raise RequestInvalid("body", f"a form field without a filename exceeds {FIELD_SIZE_BYTES_MAX} bytes")

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the contents of the file at hand."""
        while self._is_inside:
            event = await self._next_event()
            if event is not None:
                assert isinstance(event, bytes)
                yield event

    async def _next_event(self) -> object:
        try:
            return await anext(self._events, _END)
        except MultipartError as error:
            raise RequestInvalid("body", f"not valid multipart/form-data: {error.args[0]}") from None

    async def _parse(self) -> AsyncIterator[MultipartSegment | bytes | None]:
        """Yield for every part a segment, its bytes, and None."""
        outside_bytes = 0
        async for piece in self._body:
            for start in range(0, len(piece), SLICE_SIZE_BYTES):
                part = piece[start : start + SLICE_SIZE_BYTES]
                outside_bytes += len(part)
                for event in self._parser.parse(part):
                    self._is_inside, outside_bytes = event is not None, 0
                    yield event
                if self._is_inside:
                    outside_bytes = 0
                elif outside_bytes > OUTSIDE_SIZE_BYTES_MAX:
                    raise RequestInvalid(
                        "body", f"more than {OUTSIDE_SIZE_BYTES_MAX} bytes outside of the form's parts"
                    )
                await asyncio.sleep(0)
        self._parser.close()


def _headers_of(segment: MultipartSegment) -> CIMultiDict[str]:
    headers = CIMultiDict(segment.headerlist)
    if sum(len(name) + len(value) for name, value in segment.headerlist) > HEADERS_SIZE_BYTES_MAX:
        raise RequestInvalid("body", f"the headers of a part exceed {HEADERS_SIZE_BYTES_MAX} bytes")
    for name, _ in segment.headerlist:
        if len(headers.getall(name)) > 1:
            raise RequestInvalid(name, "given twice in one part of the form")
    return headers
