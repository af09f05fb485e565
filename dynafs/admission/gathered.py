"""The bytes of one chunk while they arrive."""

#: Smaller pieces are joined as they arrive: a list of many tiny ones takes far more memory than their bytes.
PIECE_SIZE_BYTES_MIN = 4 << 10


class Gathered:
    """Pieces of a body in order of arrival, copied once when all have arrived."""

    __slots__ = ("_pieces", "_small", "size_bytes")

    def __init__(self) -> None:
        self._pieces: list[bytes | bytearray | memoryview] = []
        #: the last piece, while it can still grow
        self._small: bytearray | None = None
        self.size_bytes = 0

    def add(self, piece: bytes | memoryview) -> None:
        """Keep a piece; the memory it views must not change."""
        self.size_bytes += len(piece)
        if len(piece) >= PIECE_SIZE_BYTES_MIN or not self._pieces:
            self._pieces.append(piece)
            self._small = None
        elif self._small is None:
            self._small = bytearray(piece)
            self._pieces.append(self._small)
        else:
            self._small += piece

    def take(self) -> bytes:
        """Return all bytes, and start over empty."""
        pieces, self._pieces, self._small, self.size_bytes = self._pieces, [], None, 0
        return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)
