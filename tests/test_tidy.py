"""Style as a test: what matters here fails when it is broken."""

import ast
import re
from pathlib import Path

import msgspec
import pytest
import typer

from dynafs.cli.main import app
from dynafs.config import MemberSettings, Section, Settings
from dynafs.observe.events import CATALOGUE

ROOT = Path(__file__).parents[1]
PRODUCT = sorted((ROOT / "dynafs").rglob("*.py"))
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
BANNED_NAMES = {"utils", "util", "common", "helpers", "misc", "base", "manager"}
#: Only these may look at a clock or draw randomness; all others are handed both.
CLOCK_ROOMS = ("node.py", "cli/", "http/", "storage/", "observe/", "peers/pool.py", "sim/sweep.py")


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_is_readable(path: Path) -> None:
    """Files and functions are short, modules say what they are for, names say something."""
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module says what it is for"
    assert text.count("\n") <= FILE_LINES_MAX
    assert path.stem not in BANNED_NAMES
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno <= FUNCTION_LINES_MAX, node.name
            if not node.name.startswith("_") and not _is_nested(node, tree):
                assert (
                    ast.get_docstring(node)
                    or node.name in ("size_bytes", "room", "is_full", "show", "emit")
                    or (_in_private_class(node, tree))
                ), f"{node.name} has no docstring"
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", text)


def _in_private_class(function: ast.AST, tree: ast.Module) -> bool:
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    return any(function in one.body and one.name.startswith("_") for one in classes)


def _is_nested(function: ast.AST, tree: ast.Module) -> bool:
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return any(function is not outer and function in ast.walk(outer) for outer in functions)


def test_clock_and_chance_are_handed_in() -> None:
    """Replication, membership and everything below get time and randomness as arguments."""
    banned = re.compile(
        r"\btime\.(time|monotonic|time_ns|perf_counter)\(|\brandom\.(?!Random\()\w+\(|os\.urandom|uuid\.\w+\(|datetime\.now"
    )
    for path in PRODUCT:
        name = str(path.relative_to(ROOT / "dynafs"))
        if not name.startswith(CLOCK_ROOMS):
            assert not banned.search(path.read_text()), name


def test_no_class_assigns_an_attribute_of_another_one_it_is_composed_of() -> None:
    """Where classes inherit from each other, each attribute is assigned by one of them: none is shared by accident."""
    classes = {
        node.name: node for path in PRODUCT for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    }  # fmt: skip

    def family(name: str) -> set[str]:
        above = [base.id for base in classes[name].bases if isinstance(base, ast.Name) and base.id in classes]
        return {name}.union(*map(family, above))

    for name in classes:
        owners: dict[str, str] = {}
        for one in sorted(family(name)):
            for attribute in _assigned_attributes(classes[one]):
                assert owners.setdefault(attribute, one) == one, f"{name}: {attribute} of {owners[attribute]} and {one}"


def _assigned_attributes(one: ast.ClassDef) -> set[str]:
    return {
        node.attr for node in ast.walk(one)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name) and node.value.id == "self"
    }  # fmt: skip


def test_every_event_is_in_the_catalogue_and_every_listed_one_is_used() -> None:
    """An operator can look up each event, and none is a leftover."""
    used = set()
    for path in PRODUCT:
        used |= set(
            re.findall(
                r"(?:\.(?:debug|info|warning|error|exception)|log_bug)\(\s*\"([a-z_]+\.[a-z_]+)\"", path.read_text()
            )
        )
    assert used == set(CATALOGUE)


#: Settings that nothing outside of config reads, each with why. One that is read by now must leave this list.
UNREAD = {
    "insecure": "config refuses a public address without it; there is nothing left to decide",
}


def _fields(section: type[Section]) -> set[str]:
    found = set()
    for field in msgspec.structs.fields(section):
        kind = field.type
        found |= _fields(kind) if isinstance(kind, type) and issubclass(kind, Section) else {field.name}
    return found


def test_every_setting_is_read_by_the_product_and_shown_to_operators() -> None:
    """A setting that changes nothing is a promise not kept."""
    read = set()
    for path in PRODUCT:
        if path.parent.name != "config":
            nodes = ast.walk(ast.parse(path.read_text()))
            read |= {one.attr for one in nodes if isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Load)}
    fields = _fields(Settings) | _fields(MemberSettings)
    assert fields - read == set(UNREAD)
    shown = (ROOT / "configs/node.toml").read_text()
    missing = {name for name in fields if not re.search(rf"^(#\s*)?{name} =|^\[\[cluster\.{name}", shown, re.MULTILINE)}
    assert missing == set()


def test_architecture_names_only_files_that_exist() -> None:
    """The map of the house shows the house."""
    text = (ROOT / "dynafs/ARCHITECTURE.md").read_text()
    for name in set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)`", text)):
        assert (ROOT / "dynafs" / name).exists(), name


def test_readme_commands_exist() -> None:
    """Every dynafs and tools/dev command of the README is one that the command has."""
    text = (ROOT / "README.md").read_text()
    commands = set(re.findall(r"^\s*(?:\.venv/bin/)?dynafs ([a-z-]+)", text, re.MULTILINE))
    known = typer.main.get_command(app).commands
    assert commands <= set(known), commands - set(known)
    tool = (ROOT / "tools/dev").read_text()
    for name in set(re.findall(r"tools/dev ([a-z-]+)", text)):
        assert name in tool, name
