"""Settings: the shipped files load, problems are named, nothing unsafe starts."""

import re
import socket
from pathlib import Path

import msgspec
import pytest

from dynafs.config import ClusterSettings, NodeSettings, Section, Settings, load_settings
from dynafs.errors import ConfigError, StoreRefused
from dynafs.node import named
from dynafs.storage.directory import DataDirectory

ROOT = Path(__file__).parents[2]
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
        (('id = "c"', 'id = "c"\ncolour = 1'), "unknown field `colour` - at `$.cluster`"),
        (('id = "c"', "id = 5"), "Expected `str`, got `int` - at `$.cluster.id`"),
        (("127.0.0.1:7001", "nowhere"), "address of n1: 'nowhere' is not HOST:PORT"),
        (("[cluster]", '[http]\nlisten = "0.0.0.0:80"\n[cluster]'), "set http.token"),
        (
            ("[cluster]", "[limits]\ndownload_bytes = 5\n[cluster]"),
            "limits.download_bytes: must hold at least one chunk",
        ),
        (("[cluster]", "[timeouts]\nrequest_s = 0\n[cluster]"), "request_s: must be above 0"),
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


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    """Nobody wants to fix settings one error at a time."""
    path = tmp_path / "node.toml"
    path.write_text(MINIMAL.replace("0123456789abcdef", "x").replace('name = "n1"', 'name = "n2"'))
    with pytest.raises(ConfigError) as caught:
        load_settings(path, {})
    assert len(caught.value.problems) == 2


def test_environment_brings_secrets(tmp_path: Path) -> None:
    """Secrets need not stand in a file."""
    path = tmp_path / "node.toml"
    path.write_text(MINIMAL.replace('secret = "0123456789abcdef"\n', ""))
    settings = load_settings(path, {"DYNAFS_CLUSTER_SECRET": "f" * 32, "DYNAFS_HTTP_TOKEN": "t"})
    assert (settings.cluster.secret, settings.http.token) == ("f" * 32, "t")


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
    (data / "dynafs.json").write_text("damaged")
    with pytest.raises(StoreRefused, match="cannot be read"):
        named(settings)
