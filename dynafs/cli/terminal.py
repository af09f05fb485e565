"""Everything the command writes for people and scripts.

Problem: names, messages and metadata come from others. A terminal obeys the control characters in them (new title,
moved cursor, cleared screen, text from right to left), and a newline in a name forges a row. Rule: every string
becomes text in `Screen.render_str` or by `shown`, which escape control characters and take nothing for markup; no
other module of the command makes rich texts or writes to the standard streams. The output is the same whether it goes
to a terminal or to a pipe; scripts use `--json` or `ls --null`, which alter nothing.
"""

import json
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from rich.console import Console, HighlighterType, JustifyMethod, OverflowMethod
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.style import Style
from rich.text import Text

#: Control, format (bidirectional among them), surrogate, line and paragraph separator.
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
#: Zero-width non-joiner and joiner: several scripts and emoji are written with them.
_JOINERS = "\u200c\u200d"
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def shown(text: str, keep: str = "") -> str:
    """Return text as it may be shown: control characters as \\n, \\x1b or \\u202e, all else unaltered. keep: control
    characters that stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in keep or not _is_hidden(c) else _escape(c) for c in text)


def _is_hidden(char: str) -> bool:
    return unicodedata.category(char) in _HIDDEN and char not in _JOINERS


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00  # a byte of a name that is not UTF-8, as Python carries it
    if char in _SHORT:
        return _SHORT[char]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def marked(style: str, text: str) -> Text:
    """Return text in a style, for example "red"."""
    return Text(shown(text), style=style)


class Screen(Console):
    """A stream that people read. Strings, also those in tables, are shown as they are, control characters escaped."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False)

    def render_str(
        self,
        text: str,
        *,
        style: str | Style = "",
        justify: JustifyMethod | None = None,
        overflow: OverflowMethod | None = None,
        emoji: bool | None = None,  # noqa: ARG002
        markup: bool | None = None,  # noqa: ARG002
        highlight: bool | None = None,  # noqa: ARG002
        highlighter: HighlighterType | None = None,  # noqa: ARG002
    ) -> Text:
        """Return a string as text; the one place where strings become that."""
        return Text(shown(text), style=style, justify=justify, overflow=overflow)

    def say(self, text: str) -> None:
        """Print one line, however long."""
        self.print(text, soft_wrap=True)

    def warn(self, text: str, *, word: str = "warning", style: str = "yellow") -> None:
        """Print one line behind a coloured word."""
        self.print(Text.assemble((f"{word}:", style), " ", shown(text)), soft_wrap=True)

    def on_broken_pipe(self) -> NoReturn:
        """Leave it to `ending` what a reader that went away means."""
        raise BrokenPipeError

    @contextmanager
    def waiting(self, text: str) -> Iterator[Callable[[str], None]]:
        """Show on a terminal what is being waited for; yield a function that replaces the text."""
        with self.status(Text(shown(text))) as status:
            yield lambda newer: status.update(Text(shown(newer)))


out, err = Screen(), Screen(stderr=True)


class _NameColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(shown(task.description))


def transfer_bar() -> Progress:
    """Return a progress bar of bytes that shows on a terminal only."""
    return Progress(
        _NameColumn(), BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeRemainingColumn(),
        console=err, disable=not sys.stderr.isatty(), transient=True,
    )  # fmt: skip


def count_bars(*, is_disabled: bool) -> Progress:
    """Return progress bars of things that are counted."""
    columns = (_NameColumn(), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=out, disable=is_disabled)


def print_json(value: object) -> None:
    """Print one JSON document to standard output; control characters in it are escaped as JSON does."""
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    text = json.dumps(value, ensure_ascii=encoding != "utf8", allow_nan=False, indent=2)
    if not (text.isascii() and "\x7f" not in text):
        text = "".join(_json_escape(c) if c != "\n" and _is_hidden(c) else c for c in text)
    sys.stdout.write(text + "\n")


def _json_escape(char: str) -> str:
    return "\\u007f" if char == "\x7f" else json.dumps(char)[1:-1]


def print_null(names: Iterable[str]) -> None:
    """Print names as they are, a NUL character behind each."""
    sys.stdout.flush()
    for name in names:
        sys.stdout.buffer.write(name.encode() + b"\0")
    sys.stdout.buffer.flush()


def print_text(text: str) -> None:
    """Print lines of others at once, without a newline of our own."""
    sys.stdout.write(shown(text, keep="\n\t"))
    sys.stdout.flush()
