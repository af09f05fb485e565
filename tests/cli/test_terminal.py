"""What the command writes to terminals and pipes."""

import asyncio
import json
import os
import pty
import re
import sys
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from dynafs.cli.terminal import Screen, print_json, shown
from dynafs.client import DynafsClient
from dynafs.observe.events import configure_logs
from tests.cli.test_commands import dynafs
from tests.client.serving import answering, json_answer

EVIL = "\x1b]0;owned\x07\x1b[2J\n      5 GiB  forged\r\x9b1m\u202egnp\u2066[red]x[/red][/x]\\[/y]"
CLI = Path(__file__).parents[2] / "dynafs" / "cli"


@given(st.text(st.characters(exclude_categories=())))
def test_nothing_that_steers_a_terminal_is_shown(text: str) -> None:
    """No control, format, surrogate or separator character; printable ASCII and letters stay as they are."""
    result = shown(text)
    assert all(c in "\u200c\u200d" or c.isprintable() or c.isspace() or ord(c) > 0x2FF for c in result)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", result)
    assert shown(result) == result


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x1b[0m\x7f\x85", "\\x1b[0m\\x7f\\x85"),
        ("\u202e\u2028\U000e0041", "\\u202e\\u2028\\U000e0041"),
        ("caf\udce9", "caf\\xe9"),
        ("höhle 猫 👩\u200d🚀 [x] a\\b", "höhle 猫 👩\u200d🚀 [x] a\\b"),
    ],
)
def test_escapes(text: str, result: str) -> None:
    """Each character in its shortest form; a byte of a local name as that byte."""
    assert shown(text) == result


def test_no_module_goes_around_the_screen() -> None:
    """Rich texts, markup and the standard streams are for one module, where everything is escaped."""
    for path in CLI.glob("*.py"):
        text = path.read_text()
        assert not re.search(r"\[/?(red|yellow|green|bold)\]|markup=True|replace\(\"\[\"", text), path.name
        around = r"rich\.(?!table import Table\n)|(?<!out\.)(?<!err\.)\bprint\(|std(out|err)\.(buffer|write)|Text\("
        if path.name != "terminal.py":
            assert not re.search(around, text), path.name


def _table(text: str) -> Table:
    table = Table("name", "other", box=None)
    table.add_row("", text)
    return table


@pytest.mark.parametrize("wrap", [lambda text: text, _table])
def test_strings_are_no_markup_wherever_they_are(capsys: pytest.CaptureFixture[str], wrap) -> None:
    """In lines and in cells."""
    Screen().print(wrap(EVIL), soft_wrap=True, width=200)
    out = capsys.readouterr().out
    assert "[red]x[/red][/x]\\[/y]" in out
    assert "\x1b" not in out


async def test_json_is_unaltered_and_plain(capsys: pytest.CaptureFixture[str]) -> None:
    """What is decoded is what was there; what a terminal obeys is written as JSON escapes."""
    print_json({EVIL: ["\x7f\u2028\udce9", "höhle"]})
    out = capsys.readouterr().out
    assert json.loads(out) == {EVIL: ["\x7f\u2028\udce9", "höhle"]}
    assert "höhle" in out
    assert shown(out, keep="\n") == out


async def test_names_are_escaped_on_a_terminal(cluster, tmp_path: Path) -> None:
    """Rows, errors, progress bars and usage errors of the real command on a real terminal."""
    async with DynafsClient(cluster.url()) as client:
        await client.put("demo", EVIL, os.urandom(200_000), metadata={"note": "x"}, content_type="a/b")
    for arguments in (
        ("ls", "demo"), ("stat", f"demo/{EVIL}"), ("get", f"demo/{EVIL}", tmp_path / "x"), ("explain", f"demo/{EVIL}"),
        ("get", "evil/\\[/x]"), ("get", f"demo/{EVIL}2"), ("get", "demo/x", "y", EVIL), (EVIL,), ("scrub", EVIL),
        ("put", tmp_path / "x", f"demo/{EVIL}"), ("ring", "stage", "zone", "n1", EVIL), ("serve", "--config", EVIL),
    ):  # fmt: skip
        assert_harmless(await on_terminal(*arguments, url=cluster.url()))


async def test_bars_and_spinners_escape_names() -> None:
    """What is shown while something is waited for comes from a node, too."""
    rows = [{"node": EVIL, "partitions": 4, "done": 2}]
    found = {"step": "moving", "epoch": 1, "next_epoch": 2, "nodes": rows}
    moving, stable = (json_answer(json.dumps({**found, "step": step}).encode()) for step in ("moving", "stable"))
    async with answering(moving, moving, stable) as url:
        output = await on_terminal("ring", "transfers", "--wait", url=url)
    assert "owned" in output
    assert_harmless(output)
    script = f"from dynafs.cli.terminal import err\nwith err.waiting({EVIL!r}) as show: show({EVIL!r})"
    output = await on_terminal(url="", module=("-c", script))
    assert "owned" in output
    assert_harmless(output)


def assert_harmless(output: str) -> None:
    """Colours, the cursor and the lines of progress bars are the command's own; nothing else steers the terminal."""
    assert "Traceback" not in output, output
    rest = re.sub(r"\x1b\[(\?25[lh]|[0-9;]*m|2K|1A|1G)|\r\n|\r", "", output)
    assert shown(rest, keep="\n") == rest
    assert "\n      5 GiB  forged" not in output


async def on_terminal(*arguments: object, url: str, module: tuple[str, ...] = ("-m", "dynafs")) -> str:
    """Run the command on a terminal of its own; return what it writes there."""
    parent, child = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, *module, *map(str, arguments), env={**os.environ, "DYNAFS_URL": url, "TERM": "xterm"},
        stdin=child, stdout=child, stderr=child,
    )  # fmt: skip
    os.close(child)
    output = await asyncio.to_thread(_read_all, parent)
    await process.wait()
    os.close(parent)
    return output.decode()


def _read_all(descriptor: int) -> bytes:
    data = bytearray()
    while True:
        try:
            piece = os.read(descriptor, 65536)
        except OSError:  # the last one who had the terminal open is gone
            return bytes(data)
        data += piece


async def test_scripts_get_names_as_they_are(cluster) -> None:
    """--null: whole names, NUL between them; --json: the same; both exclude each other."""
    async with DynafsClient(cluster.url()) as client:
        for path in ("a\nb", "d/x"):
            await client.put("demo", path, b"")
    assert (await dynafs("ls", "-0", "demo", url=cluster.url()))[1] == "demo/d/\0demo/a\nb\0"
    assert (await dynafs("ls", "-0", url=cluster.url()))[1] == "demo/\0"
    _, out, _ = await dynafs("ls", "-r", "demo", "--json", url=cluster.url())
    assert [row["path"] for row in json.loads(out)] == ["a\nb", "d/x"]
    assert (await dynafs("ls", "-0", "--json", url=cluster.url()))[0] == 2
    assert "a\\nb" in (await dynafs("ls", "demo", url=cluster.url()))[1]


def test_console_log_of_a_node_escapes_names(capsys: pytest.CaptureFixture[str]) -> None:
    """A name in an event cannot steer the terminal that shows the log."""
    before = structlog.get_config()
    try:
        configure_logs("info", "console")
        structlog.get_logger().info("download.aborted", path=EVIL, code="x\ny")
    finally:
        structlog.configure(**before)
        structlog.contextvars.clear_contextvars()
    line = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().err)
    assert line.count("\n") == 1
    assert shown(line, keep="\n") == line
