"""Looking around in a running node."""

import asyncio
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from dynafs.attach import Console, Prompt, socket_path
from dynafs.attach.address import SOCKET_NAME, short_path
from dynafs.attach.prompt import SESSIONS_MAX
from dynafs.errors import NotFound, ServerUnreachable
from tests.cli.test_commands import dynafs


async def typed(path: Path, lines: Sequence[str]) -> list[str]:
    """Return what a terminal shows for some lines."""
    left, shown = list(lines), list[str]()

    def ask(prompt: str) -> str:
        if not left:
            raise EOFError
        shown.append(prompt)
        return left.pop(0)

    await asyncio.to_thread(Console(path, ask, shown.append).run)
    return [text for text in shown if text not in (">>> ", "... ")]


async def test_what_is_typed_runs_in_the_node(cluster) -> None:
    """Values, names that last, statements of several lines, and calls that are awaited, of this node and its peers."""
    path = socket_path("n1", cluster.path)
    shown = await typed(path, [
        "settings.node.name", "x = 20", "x + 1", "_ + 1", "for i in range(2):", "    print('line', i)", "",
        "from dynafs.wire.ring_messages import ReadRing", "(await ask('n2', ReadRing())).message.version",
        "await asyncio.sleep(0)",
    ])  # fmt: skip
    assert shown == ["'n1'\n", "", "21\n", "22\n", "line 0\nline 1\n", "", "1\n", ""]


async def test_mistakes_are_shown_and_harm_nothing(cluster) -> None:
    """A typing error, a failure, a statement that is not finished: told, and on it goes."""
    path = socket_path(str(cluster.path / "n2"), Path("nowhere"))
    shown = await typed(path, ["1 +", "1 / 0", "raise SystemExit", "ring.epoch", "(1,"])
    assert "SyntaxError" in shown[0]
    assert shown[1].splitlines()[1:] == [
        '  File "<attach>", line 1, in <module>',
        "ZeroDivisionError: division by zero",
    ]
    assert "SystemExit" in shown[2]
    assert shown[3] == "1\n"
    assert "SyntaxError" in shown[4]
    assert cluster.nodes["n2"].replication.has_quorum()


async def test_terminal_never_waits_in_vain(cluster) -> None:
    """What was cancelled in the node, and what JSON cannot carry, are answers, too."""
    path = socket_path("n1", cluster.path)
    shown = await asyncio.wait_for(
        typed(path, [
            "gone = asyncio.get_running_loop().create_future()", "gone.cancel()", "await gone",
            "print(chr(0xd800) + 'x')", "1",
        ]), 20,
    )  # fmt: skip
    assert "CancelledError" in shown[2]
    assert shown[3:] == ["\\ud800x\n", "1\n"]


async def test_what_runs_ends_with_its_terminal(tmp_path: Path) -> None:
    """Nothing is left running for somebody who hung up; others go on."""
    started, ended = asyncio.Event(), asyncio.Event()

    async def forever() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    prompt = Prompt(tmp_path, lambda: {"forever": forever})
    await prompt.start()
    _, writer = await asyncio.open_unix_connection(tmp_path / SOCKET_NAME)
    writer.write(b'{"source": "await forever()"}\n')
    await started.wait()
    assert await typed(tmp_path / SOCKET_NAME, ["1"]) == ["1\n"]
    writer.close()
    await asyncio.wait_for(ended.wait(), 5)
    await prompt.close()


async def test_only_the_nodes_user_may_attach(tmp_path: Path) -> None:
    """The socket is closed to others, at paths of any length; terminals too many or too loud are cut off."""
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    prompt = Prompt(deep, dict)
    await prompt.start()
    path = socket_path(str(deep), tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert await typed(path, ["40 + 2"]) == ["42\n"]
    with short_path(path) as address:
        writers = [(await asyncio.open_unix_connection(address))[1] for _ in range(SESSIONS_MAX)]
    assert await typed(path, ["1"]) == [f"{SESSIONS_MAX} prompts are open already; close one\n"]
    for writer in writers:
        writer.close()
    while prompt.terminals:
        await asyncio.sleep(0)
    with pytest.raises(ServerUnreachable):
        await typed(path, ["1" * (65 << 10)])
    await prompt.close()
    with pytest.raises(NotFound):
        socket_path(str(deep), tmp_path)


async def test_command_takes_what_is_piped_into_it(cluster) -> None:
    """For scripts: the answers alone; 2 for a node that does not run."""
    code, out, err = await dynafs("attach", "n3", "--data", str(cluster.path), data=b"ring.n\nsorted(jobs)[0]\n")
    assert (code, out, err) == (0, "3\n'anti-entropy'\n", "")
    code, _, err = await dynafs("attach", "n9", "--data", str(cluster.path))
    assert (code, "is the data directory of a running node" in err) == (2, True)
