"""Settings: the shipped files load, problems are named, nothing unsafe starts."""

import math
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynafs.config import (
    ClusterSettings,
    MemberSettings,
    NodeSettings,
    Section,
    Settings,
    exposed_secrets,
    load_settings,
)
from dynafs.config.checks import ranged_numbers
from dynafs.config.loading import parse_settings
from dynafs.errors import ConfigError, StoreRefused
from dynafs.node import named
from dynafs.storage.directory import DataDirectory

ROOT = Path(__file__).parents[2]
Tables = Mapping[str, object]
SECRETS = {"DYNAFS_CLUSTER_SECRET": "0123456789abcdef", "DYNAFS_HTTP_TOKEN": "token"}

MINIMAL = """
[node]
name = "n1"
data_dir = "/tmp/x"
[cluster]
id = "c"
secret = "0123456789abcdef"
n = 1
r = 1
w = 1
[[cluster.members]]
node = "n1"
address = "127.0.0.1:7001"
"""


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.toml")), ids=lambda path: path.name)
def test_shipped_settings_load(path: Path) -> None:
    """Every settings file in configs/ works."""
    load_settings(path, SECRETS)


def test_annotated_settings_show_every_field_with_its_default() -> None:
    """configs/node.toml names every setting there is."""
    text = (ROOT / "configs/node.toml").read_text()

    def fields(section: type[Section]) -> list[str]:
        found = []
        for field in msgspec.structs.fields(section):
            kind = field.type
            found += fields(kind) if isinstance(kind, type) and issubclass(kind, Section) else [field.name]
        return found

    missing = [
        name for name in fields(Settings) if not re.search(rf"^#?\s*{name}\s*=|^\[\[cluster.{name}", text, re.MULTILINE)
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('name = "n1"', 'name = "n9"'), "node.name: 'n9' is not among cluster.members ['n1']"),
        (("0123456789abcdef", "short"), "cluster.secret: needs at least 16 bytes"),
        (("n = 1", "n = 3"), "cluster.n: 3 copies need 3 members, 1 are listed"),
        (("r = 1", "r = 2"), "cluster.r: use 1 to 1"),
        (('id = "c"', 'id = "c"\npartitions = 1000'), "cluster.partitions: use a power of two"),
        (('id = "c"', 'id = "c"\ncolour = 1'), "cluster.colour: unknown setting; known here: id, secret"),
        (('id = "c"', "id = 5"), "cluster.id: Expected `str`, got `int`"),
        (("127.0.0.1:7001", "nowhere"), "cluster.members 1.address: 'nowhere' is not HOST:PORT"),
        (("[cluster]", '[http]\nlisten = "0.0.0.0:80"\n[cluster]'), "set http.token"),
        (
            ("[cluster]", "[limits]\ndownload_bytes = 5\n[cluster]"),
            "limits.download_bytes: must hold at least one chunk",
        ),
        (("[cluster]", "[timeouts]\nrequest_s = 0\n[cluster]"), "timeouts.request_s: use 0.001 to 86400, not 0"),
        (("[node]", "[node"), "not valid TOML"),
        (('data_dir = "/tmp/x"', 'data_dir = "/tmp/x"\ngossip_port = 70000'), "node.gossip_port: use 0 to 65535"),
        (('id = "c"', 'id = "c"\nseeds = ["n1"]'), "cluster.seeds 1: 'n1' is not HOST:PORT"),
        (
            ("[cluster]", '[http]\nshared_listen = "0.0.0.0:80"\n[cluster]'),
            "http.shared_listen: 0.0.0.0:80 can be reached",
        ),
    ],
)
def test_problems_name_the_field_and_the_fix(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    """What cannot work is said before anything starts."""
    path = tmp_path / "node.toml"
    path.write_text(MINIMAL.replace(*change, 1))
    with pytest.raises(ConfigError) as caught:
        load_settings(path, {})
    assert told in str(caught.value)


BASE = {
    "node": {"name": "n1", "data_dir": "/srv/x"},
    "cluster": {
        "id": "c", "secret": "0123456789abcdef", "n": 1, "r": 1, "w": 1,
        "members": [{"node": "n1", "address": "127.0.0.1:7001"}],
    },
}  # fmt: skip
NUMBERS = {field: limits for field, _, limits in ranged_numbers(parse_settings(BASE)) if "members" not in field}


def write(path: Path, *changes: tuple[str, str]) -> Path:
    """Write MINIMAL with lines put behind the heads of sections."""
    text = MINIMAL
    for section, line in changes:
        head = f"[{section}]"
        text = text.replace(head, f"{head}\n{line}", 1) if head in text else f"{head}\n{line}\n{text}"
    path.write_text(text)
    return path


def problems_of(path: Path, environment: Mapping[str, str] = MappingProxyType({})) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_settings(path, environment)
    return caught.value.problems


def problems_in(tables: Tables) -> list[str]:
    try:
        parse_settings(tables)
    except ConfigError as error:
        return error.problems
    return []


def test_every_number_has_a_range_with_its_default_inside() -> None:
    """There is one table of truth, and it has no holes."""
    found = []

    def look(section: type[Section], path: str) -> None:
        for field in msgspec.structs.fields(section):
            kind = field.type
            if isinstance(kind, type) and issubclass(kind, Section):
                look(kind, f"{path}{field.name}.")
            elif kind in (int, float):
                found.append(path + field.name)

    look(Settings, "")
    look(MemberSettings, "member.")
    assert found == [], "use Annotated[int, Meta(ge=..., le=...)]"
    assert len(NUMBERS) > 40


@pytest.mark.parametrize("field", sorted(NUMBERS))
def test_numbers_out_of_their_range_are_named(tmp_path: Path, field: str) -> None:
    """Below, above, infinite, no number at all: exit before anything starts, naming field, range and value."""
    section, name = field.split(".")
    low, high = NUMBERS[field].ge, NUMBERS[field].le
    assert math.isfinite(low)
    assert math.isfinite(high)
    for value in (low - 1, high + 1, math.inf, -math.inf, math.nan, "5", True, 1 << 70, []):
        changed = {**BASE, section: {**BASE.get(section, {}), name: value}}
        told = [line for line in problems_in(changed) if line.startswith(f"{field}: ")]
        assert len(told) == 1, value
    for value in (low, high):
        changed = {**BASE, section: {**BASE.get(section, {}), name: value}}
        assert not [line for line in problems_in(changed) if re.match(rf"{field}: use {low:.15g} to \d+, not", line)]


@given(
    st.sampled_from(sorted(NUMBERS)),
    st.integers() | st.floats() | st.text(max_size=5) | st.booleans() | st.lists(st.integers(), max_size=2),
)
def test_no_value_of_a_setting_is_an_error_of_ours(field: str, value: object) -> None:
    """Settings are refused with ConfigError, or they load and every number is finite and in its range."""
    section, name = field.split(".")
    changed = {**BASE, section: {**BASE.get(section, {}), name: value}}
    if problems := problems_in(changed):
        assert all(re.match(r"[a-z]+\.[a-z_,]+: ", line) for line in problems)
        return
    settings = parse_settings(changed)
    assert all(limits.ge <= found <= limits.le for _, found, limits in ranged_numbers(settings))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ([("node", 'zone = ""')], "node.zone: '' is no name"),
        ([("cluster", 'seeds = ["n1:0"]')], "cluster.seeds 1: 'n1:0' is not HOST:PORT"),
        ([("cluster", 'seeds = ["n1:1", "N1:1"]')], "cluster.seeds: 'n1:1' is listed twice"),
        ([("http", 'listen = "127.0.0.1:0"')], "http.listen: '127.0.0.1:0' is not HOST:PORT"),
        ([("http", 'listen = ""')], "http.listen: '' is not HOST:PORT"),
        ([("http", 'listen = "127.0.0.1:7001"')], "http.listen: '127.0.0.1:7001' is where peers call"),
        ([("http", 'shared_listen = "127.0.0.1:8080"')], "http.shared_listen: must be another address"),
        ([("http", 'allowed_hosts = ["a", "A"]')], "http.allowed_hosts: 'a' is listed twice"),
        ([("http", 'allowed_hosts = ["a:80"]')], "http.allowed_hosts: 'a:80' is no host name"),
        ([("http", 'allowed_hosts = [""]')], "http.allowed_hosts: '' is no host name"),
        ([("http", 'token = "a b"')], "http.token: use visible ASCII characters without spaces"),
        ([("http", 'token = "0123456789abcdef"')], "http.token: must not be the cluster.secret"),
        ([("http", f'token = "{"x" * 513}"')], "http.token: use at most 512 characters"),
        ([("http", "headers_total_size_bytes_max = 70000\nheaders_pending_size_bytes_max = 65536")],
         "http.headers_pending_size_bytes_max: must hold the headers of one request, 70000 bytes"),
        ([("http", 'advertise = "0.0.0.0:80"')], "http.advertise: 0.0.0.0:80 is no place to call"),
        ([("http", 'advertise = "http://h:80"')], "http.advertise: 'http://h:80' is not HOST:PORT"),
        ([("cluster", 'seeds = ["0.0.0.0:1"]')], "cluster.seeds 1: 0.0.0.0:1 is no place to call"),
        ([("cluster", 'seeds = ["[::]:1"]')], "cluster.seeds 1: [::]:1 is no place to call"),
        ([("http", "connections_maximum = 5")], "unknown setting; did you mean connections_max?"),
        ([("storage", "soft_mark = 0.96")], "storage.soft_mark: soft_mark, hard_mark and reserve_mark must rise"),
        ([("timeouts", "reconnect_min_s = 2")], "timeouts.reconnect_min_s: must not be above reconnect_max_s"),
        ([("node", "gossip_port = 7001")], "node.gossip_port: 7001 is the port where peers call"),
        ([("[cluster.members]", 'zone = "\\u001b"')], "cluster.members 1.zone: '\\x1b' is no name"),
        ([("[cluster.members]", "weight = nan")], "cluster.members 1.weight: use 0.001 to 1000000, not nan"),
        ([("log", "level = 5")], "log.level: "),
        ([("node", "colour\\u001b = 1")], "not valid TOML"),
        ([("node", '"colour\\u001b" = 1')], "node.'colour\\x1b': unknown setting"),
    ],
    ids=str,
)  # fmt: skip
def test_names_addresses_and_relations_are_judged(tmp_path: Path, changes: list[tuple[str, str]], told: str) -> None:
    """Text settings keep the rules of the ring; what must fit together does."""
    assert any(told in line for line in problems_of(write(tmp_path / "node.toml", *changes)))


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("127.0.0.1:7001", "cluster.members: two members have the same address: '127.0.0.1:7001'"),
        ("0.0.0.0:7002", "cluster.members 2.address: 0.0.0.0:7002 is no place to call; name the node's host"),
    ],
)
def test_members_can_be_told_apart_and_called(tmp_path: Path, address: str, told: str) -> None:
    """Two members at one address, or one at every address: their peers would call the wrong node, or themselves."""
    path = tmp_path / "node.toml"
    path.write_text(MINIMAL + f'[[cluster.members]]\nnode = "n2"\naddress = "{address}"\n')
    assert any(line.startswith(told) for line in problems_of(path))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"[node]\nname = '\xff'", "not UTF-8: byte 15 is 0xff"),
        (b"a = " + b"[" * 5000, "not valid TOML"),
        (b"a = " + b"9" * 5000, "not valid TOML"),
        (b"node = 5\ncluster = []", "node: use a table, not 5"),
        (b"", "node.name: is missing"),
        (b"#" * (5 << 20), "no settings file is larger"),
    ],
    ids=["bytes", "depth", "digits", "tables", "nothing", "size"],
)
def test_files_that_are_no_settings(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "node.toml"
    path.write_bytes(content)
    assert any(told in line for line in problems_of(path, SECRETS))
    assert "cannot be read: Is a directory" in problems_of(tmp_path)[0]
    assert "cannot be read: No such file" in problems_of(tmp_path / "none")[0]


@pytest.mark.parametrize(
    "value", ["0123456789abcdef\n", " 0123456789abcdef", "0123456789\tabcdef", "0123456789abcdef\udcff"]
)
def test_secrets_of_the_environment_have_no_stray_characters(tmp_path: Path, value: str) -> None:
    """A newline that a shell or a file left there would make this node a stranger to the others."""
    path = write(tmp_path / "node.toml")
    assert "look at DYNAFS_CLUSTER_SECRET" in problems_of(path, {"DYNAFS_CLUSTER_SECRET": value})[0]
    assert "look at DYNAFS_HTTP_TOKEN" in problems_of(path, {"DYNAFS_HTTP_TOKEN": value})[0]


def test_settings_can_be_shown_without_their_secrets(tmp_path: Path) -> None:
    """Operators print them at a node's prompt."""
    secrets = {"DYNAFS_CLUSTER_SECRET": "0123456789abcdef", "DYNAFS_HTTP_TOKEN": "fedcba"}
    shown = repr(load_settings(write(tmp_path / "node.toml"), secrets))
    assert "secret='...'" in shown
    assert "n1" in shown
    assert not any(secret in shown for secret in secrets.values())


def test_secrets_in_a_file_that_all_can_read_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "node.toml", ("http", 'token = "s3cret"'))
    path.chmod(0o644)
    assert exposed_secrets(path) == ["cluster.secret", "http.token"]
    path.chmod(0o640)
    assert exposed_secrets(path) == []


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    """Nobody wants to fix settings one error at a time."""
    path = tmp_path / "node.toml"
    path.write_text(MINIMAL.replace("0123456789abcdef", "x").replace('name = "n1"', 'name = "n2"'))
    assert len(problems_of(path)) == 2
    http = 'idle_timeout_s = -1\nconnections_max = 0\ntokn = ""'
    write(path, ("http", http), ("log", "level = 1"), ("node", "zone = 5"))
    found = [line.partition(":")[0] for line in problems_of(path)]
    assert sorted(found) == ["http.connections_max", "http.idle_timeout_s", "http.tokn", "log.level", "node.zone"]


def test_environment_brings_secrets(tmp_path: Path) -> None:
    """Secrets need not stand in a file."""
    path = tmp_path / "node.toml"
    path.write_text(MINIMAL.replace('secret = "0123456789abcdef"\n', ""))
    settings = load_settings(path, {"DYNAFS_CLUSTER_SECRET": "f" * 32, "DYNAFS_HTTP_TOKEN": "t"})
    assert (settings.cluster.secret, settings.http.token) == ("f" * 32, "t")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "Localhost.", "127.0.0.1", "127.9.9.9", "[::1]"])
def test_loopback_addresses_need_no_token(tmp_path: Path, host: str) -> None:
    load_settings(write(tmp_path / "node.toml", ("http", f'listen = "{host}:8080"')), {})


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "10.0.0.1", "localhost.example", "n1", "128.0.0.1"])
def test_public_addresses_need_a_token_or_a_word(tmp_path: Path, host: str) -> None:
    path = write(tmp_path / "node.toml", ("http", f'listen = "{host}:8080"'))
    assert "can be reached from other machines" in problems_of(path)[0]
    load_settings(path, {"DYNAFS_HTTP_TOKEN": "token"})
    load_settings(write(path, ("http", f'listen = "{host}:8080"\ninsecure = true')), {})


def test_newcomer_needs_a_secret_an_address_and_a_seed(tmp_path: Path) -> None:
    """What the cluster was founded with it learns from there; without a seed there is nobody to ask."""
    path = tmp_path / "node.toml"
    text = (
        f'[node]\nname = ""\ndata_dir = "{tmp_path}/data"\nlisten = "127.0.0.1:7009"\n[cluster]\nseeds = ["n1:7400"]\n'
    )
    path.write_text(text)
    settings = load_settings(path, SECRETS)
    assert (settings.cluster.members, settings.cluster.seeds) == ((), ("n1:7400",))
    path.write_text(text.replace("seeds", "# seeds"))
    with pytest.raises(ConfigError, match=r"cluster.members: list the nodes .* or cluster.seeds of one to join"):
        load_settings(path, SECRETS)


def test_node_without_a_name_is_called_like_its_data_or_its_host(tmp_path: Path) -> None:
    """A container that is made anew has another host name, and the same volume."""
    data = tmp_path / "data"
    settings = Settings(node=NodeSettings(name="", data_dir=str(data)), cluster=ClusterSettings())
    assert named(settings).node.name == socket.gethostname()
    DataDirectory(data, "c", "n7", "0000").close()
    assert named(settings).node.name == "n7"
    for content in (b"damaged", b'{"node": "\xff"}'):
        (data / "dynafs.json").write_bytes(content)
        with pytest.raises(StoreRefused, match="cannot be read"):
            named(settings)


def test_host_whose_name_no_node_can_have_needs_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "x" * 64)
    settings = Settings(node=NodeSettings(name="", data_dir=str(tmp_path)), cluster=ClusterSettings())
    with pytest.raises(ConfigError, match=r"node.name: .* use 1 to 63 of a-z"):
        named(settings)
