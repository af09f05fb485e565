"""What a checkout's code speaks and stores: whether nodes of two checkouts form one cluster, and read the same data."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec

#: {what is stored: (module, name of its format number)}
FORMATS = {
    "data directory": ("dynafs.storage.directory", "DIRECTORY_FORMAT"),
    "segment": ("dynafs.wire.segments", "SEGMENT_FORMAT"),
    "record": ("dynafs.wire.records", "RECORD_FORMAT"),
    "ring state": ("dynafs.wire.ring", "STATE_FORMAT"),
}
#: Prints the versions of the code that it imports. A number that the code does not have is 0.
PROBE = """
import importlib, json, sys
import dynafs
def number(module, name):
    try:
        return getattr(importlib.import_module(module), name, 0)
    except ModuleNotFoundError:
        return 0
formats = {what: number(*where) for what, where in json.loads(sys.argv[1]).items()}
handshake = "dynafs.wire.handshake"
print(json.dumps({
    "path": dynafs.__file__, "wire": number(handshake, "WIRE_VERSION"),
    "apart_max": number(handshake, "VERSIONS_APART_MAX"), "formats": formats,
}))
"""


class Incompatible(Exception):
    """Nodes of two checkouts cannot replace each other one by one."""


class CodeVersions(msgspec.Struct, frozen=True):
    """wire: version of the messages between nodes. apart_max: how far versions of two nodes may be apart. formats:
    number of each format that is stored. path: of the package."""

    path: str
    wire: int
    apart_max: int
    formats: dict[str, int]


def versions_of(source: Path) -> CodeVersions:
    """Return the versions of a checkout's code. Raises Incompatible when it cannot be imported here."""
    command = [sys.executable, "-P", "-c", PROBE, msgspec.json.encode(FORMATS).decode()]
    environment = {**os.environ, "PYTHONPATH": str(source)}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Incompatible(f"the code of {source} cannot be imported in this environment: {reason}")
    found = msgspec.json.decode(done.stdout, type=CodeVersions)
    if not Path(found.path).is_relative_to(source.resolve()):
        raise Incompatible(f"{source} has no package dynafs; {found.path} was imported instead")
    return found


def check_compatible(old: CodeVersions, new: CodeVersions) -> None:
    """Raise Incompatible unless nodes can go from the old code to the new one, one by one, and keep their data."""
    apart_max = min(old.apart_max, new.apart_max)
    if abs(new.wire - old.wire) > apart_max:
        raise Incompatible(
            f"the old code speaks wire version {old.wire}, this checkout {new.wire}, and nodes work together up to "
            f"{apart_max} apart: choose a commit closer to this one"
        )
    for what, number in old.formats.items():
        if number > new.formats.get(what, 0):
            raise Incompatible(
                f"the old code stores format {number} of a {what}; this checkout reads up to {new.formats.get(what, 0)}"
            )
