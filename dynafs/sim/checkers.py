"""What must hold of every run, each promise a class of its own. `check` raises PromiseBroken."""

import math
from collections.abc import Sequence
from typing import ClassVar, Protocol

from dynafs.coordinator import chunks, records
from dynafs.files import FileName, Version
from dynafs.files.name import common_prefix
from dynafs.observe.supervision import name_of
from dynafs.ring import file_hash
from dynafs.ring.transition import Step
from dynafs.sim.errors import PromiseBroken
from dynafs.sim.history import History, LooseWrite, SeenListing
from dynafs.sim.linearizability import Operation, first_violation, is_linearizable
from dynafs.sim.world import World
from dynafs.wire.records import decode_record
from dynafs.wire.segments import chunk_id_of

#: What begins the names of tasks that run as long as their node; everything else must end.
FOR_EVER = ("job ", "watch for peers")


class Checker(Protocol):
    """Looks at a run when it is over: every fault mended, every file read once more through every node."""

    name: ClassVar[str]

    def check(self, world: World, history: History) -> None:
        """Raise PromiseBroken with the evidence."""
        ...


class Linearizable:
    """Every file is a register: some order of its operations, each at one moment between call and return, explains all
    that was read."""

    name: ClassVar[str] = "linearizability"

    def check(self, world: World, history: History) -> None:  # noqa: ARG002
        """Search for the order, file by file."""
        for file, operations in history.strong.items():
            if not is_linearizable(operations):
                told = "; ".join(_told(one) for one in first_violation(operations))
                raise PromiseBroken(self.name, f"{file}: no order explains these: {told}")


class NothingLost:
    """What was acknowledged and not overwritten since is what the owners hold in the end; what was deleted stays so."""

    name: ClassVar[str] = "durability"

    def check(self, world: World, history: History) -> None:
        """Compare the owners' newest versions with the writes that may be the last."""
        for file, operations in history.strong.items():
            writes = [one for one in operations if one.kind == "write"]
            acknowledged = [one for one in writes if one.returned < math.inf]
            last = max(acknowledged, key=lambda one: one.called, default=None)
            held = newest_of(world, file)
            value = None if held is None or not held.is_file else held.metadata["value"]
            # A write may be the last unless another began after it had returned.
            possible = {one.value for one in writes if last is None or one.returned >= last.called}
            if last is None:
                possible.add(None)
            if value not in possible:
                raise PromiseBroken(
                    self.name, f"{file}: the owners hold {value}; the last acknowledged write is {_told(last)}"
                )


class AvailableKept:
    """Of an available bucket's file the last write stands, or, where both are kept, every write that none replaced."""

    name: ClassVar[str] = "availability"

    def check(self, world: World, history: History) -> None:
        """Compare what the owners hold with all writes."""
        for file, writes in history.loose.items():
            held = set(held_by_owners(world, file).values())
            record = decode_record(max(held))
            if history.available[file.partition("/")[0]] == "keep-both":
                self._check_siblings(file, writes, {one.metadata["value"] for one in record.files})
            else:
                self._check_last(file, writes, record.newest)

    def _check_last(self, file: str, writes: Sequence[LooseWrite], newest: Version | None) -> None:
        last = max(writes, key=lambda one: one.stamp)
        if newest is None:
            is_right = not last.stamp or last.value is None or any(w.value is None and not w.stamp for w in writes)
        else:
            is_right = str(newest.stamp) >= last.stamp
        if not is_right:
            raise PromiseBroken(self.name, f"{file}: {newest} stands though {last} was acknowledged")

    def _check_siblings(self, file: str, writes: Sequence[LooseWrite], values: set[str]) -> None:
        for one in writes:
            if not one.stamp or one.value is None or one.value in values:
                continue
            if not any(
                one.value in other.seen if other.seen is not None else one.called < other.returned
                for other in writes
                if other is not one
            ):
                raise PromiseBroken(self.name, f"{file}: {one} is gone and nothing replaced it; {sorted(values)} stand")


class StampsOrdered:
    """The stamps that clients are told order the writes of a file as they happened, whatever clocks said."""

    name: ClassVar[str] = "stamps"

    def check(self, world: World, history: History) -> None:  # noqa: ARG002
        """Compare each acknowledged write with all that had returned before it was called."""
        for file, told in history.stamps.items():
            if file.partition("/")[0] in history.available:
                continue
            for called, _, stamp in told:
                earlier = max((other for _, returned, other in told if returned < called), default="")
                if stamp <= earlier:
                    raise PromiseBroken(
                        self.name, f"{file}: the write called at {called:.4f} got {stamp} after {earlier}"
                    )


class ListingsComplete:
    """A listing has every file acknowledged before it and not touched by a delete, and none that never was."""

    name: ClassVar[str] = "listings"

    def check(self, world: World, history: History) -> None:  # noqa: ARG002
        """Weigh every listing against every file of its bucket."""
        for seen in history.listings:
            for rows in (seen.paths, seen.prefixes):
                if list(rows) != sorted(set(rows), key=str.encode):
                    raise PromiseBroken(self.name, f"a listing of {seen.bucket} is out of order: {rows}")
            for file, operations in history.strong.items():
                bucket, _, path = file.partition("/")
                if bucket == seen.bucket and path.startswith(seen.prefix):
                    self._check_one(file, path, operations, seen)

    def _check_one(self, file: str, path: str, operations: Sequence[Operation], seen: SeenListing) -> None:
        writes = [one for one in operations if one.kind == "write"]
        before = [one for one in writes if one.returned < seen.called]
        last = max((one.called for one in before), default=-1.0)
        # Writes that may be in force at some moment of the listing.
        possible = [one for one in writes if one.called < seen.returned and one.returned >= last]
        folded = common_prefix(path, seen.prefix, seen.delimiter)
        is_listed = folded in seen.prefixes if folded else path in seen.paths
        if not is_listed and before and all(one.value is not None for one in possible):
            raise PromiseBroken(self.name, f"{file} was acknowledged before {seen.called:.3f} and is not listed")
        # A folded prefix may stand for another file.
        if is_listed and not folded and all(one.value is None for one in possible):
            raise PromiseBroken(self.name, f"{file} is listed at {seen.called:.3f} though it is deleted or never was")


class Converged:
    """All owners of a file hold the same record, byte for byte, and all owners of its chunks hold good copies."""

    name: ClassVar[str] = "convergence"

    def check(self, world: World, history: History) -> None:
        """Look into every platter."""
        for file in history.files:
            records = held_by_owners(world, file)
            if len(set(records.values())) > 1:
                told = {name: decode_record(data) for name, data in records.items()}
                raise PromiseBroken(self.name, f"the owners of {file} hold different records: {told}")
            for data in set(records.values()):
                for version in decode_record(data).files:
                    self._check_chunks(world, file, version)

    def _check_chunks(self, world: World, file: str, version: Version) -> None:
        for chunk_id in version.manifest.listed() if version.manifest is not None else ():
            for name in world.owners(chunk_id):
                if (state := self._state(world, name, chunk_id)) != "good":
                    raise PromiseBroken(self.name, f"chunk {chunk_id.hex()[:8]} of {file} is {state} on {name}")

    @staticmethod
    def _state(world: World, name: str, chunk_id: bytes) -> str:
        """Look at the bytes themselves: what is present may have rotted."""
        platter = world.nodes[name].platter
        place = platter.index.chunk(chunk_id)
        if place is None:
            return "missing"
        body = platter.files[place.segment].content[place.offset : place.offset + place.size_bytes]
        return "good" if chunk_id_of(body) == chunk_id else "rotten"


class NothingPending:
    """When everybody has finished, nothing is held: no call, no budget, no unwritten record, no task."""

    name: ClassVar[str] = "leftovers"

    def check(self, world: World, history: History) -> None:  # noqa: ARG002
        """Ask every node."""
        for name in world.names:
            if left := leftovers(world, name):
                raise PromiseBroken(self.name, f"{name} still has {left}")


class NoErrors:
    """No log event of level error that the faults do not explain, and no bug in a callback."""

    name: ClassVar[str] = "errors"
    #: events that a full or failing disk explains
    EXPECTED: ClassVar[dict[str, tuple[str, ...]]] = {"store.failed": ("full_disk", "sync_failure")}

    def __init__(self, faults: Sequence[str]) -> None:
        """faults: the kinds that the run had."""
        self._faults = set(faults)

    def check(self, world: World, history: History) -> None:  # noqa: ARG002
        """Look through the events."""
        if world.crashes:
            raise PromiseBroken(self.name, f"a bug in a callback: {world.crashes[0]}")
        for node, event, fields in world.trace.errors:
            if not self._faults.intersection(self.EXPECTED.get(event, ())):
                raise PromiseBroken(self.name, f"{node} logged {event} {fields}")


class NothingWasted:
    """Every node keeps the records and the chunks of living versions that it owns, and nothing else: no hint either."""

    name: ClassVar[str] = "garbage"

    def check(self, world: World, history: History) -> None:  # noqa: ARG002
        """Look into every platter."""
        living = living_chunks(world)
        for name in world.names:
            kept = world.nodes[name].platter.index.tables["chunks"]
            for chunk_id in kept:
                if chunk_id not in living or name not in world.owners(chunk_id):
                    raise PromiseBroken(self.name, f"{name} keeps chunk {chunk_id.hex()[:8]}, which nothing uses")
            for key in world.nodes[name].platter.index.tables["records"]:
                if name not in world.owners(file_hash(key)):
                    raise PromiseBroken(self.name, f"{name} keeps record {key!r}, which belongs to others")
            if hints := world.nodes[name].platter.index.tables["hints"]:
                raise PromiseBroken(self.name, f"{name} still keeps hints: {sorted(hints)}")


class RingSettled:
    """All nodes know the same state of the ring, and nothing moves any more."""

    name: ClassVar[str] = "ring"

    def check(self, world: World, history: History) -> None:  # noqa: ARG002
        """Ask every node."""
        for name in world.names:
            state = world.nodes[name].replication.consensus.state
            if state != world.ring_state or state.step is not Step.STABLE:
                raise PromiseBroken(self.name, f"{name} is at version {state.version}, {state.step}")


class TombstonesGone:
    """When their grace is over, deletes are forgotten."""

    name: ClassVar[str] = "tombstones"

    def check(self, world: World, history: History) -> None:  # noqa: ARG002
        """Look into every platter."""
        for name in world.names:
            for key, data in world.nodes[name].platter.index.tables["records"].items():
                record = decode_record(data)
                # A delete that stands beside a version with contents waits for somebody to resolve them.
                if record.versions and not record.files:
                    raise PromiseBroken(self.name, f"{name} still remembers that {key!r} was deleted")


def living_chunks(world: World) -> set[bytes]:
    """Return the ids of all chunks of versions that stand at any owner."""
    living: set[bytes] = set()
    for node in world.nodes.values():
        for data in node.platter.index.tables["records"].values():
            for version in decode_record(data).versions:
                living.update(version.manifest.listed() if version.manifest is not None else ())
    return living


def all_checkers(faults: Sequence[str]) -> list[Checker]:
    """Return every checker of a finished run. faults: the kinds that it had.

    NothingWasted is waited for while the run settles: a message may always come late and leave something once more.
    """
    return [
        NoErrors(faults), Linearizable(), NothingLost(), AvailableKept(), StampsOrdered(),
        ListingsComplete(), Converged(), NothingPending(),
    ]  # fmt: skip


def holds(checker: Checker, world: World, history: History) -> bool:
    """Return whether a promise holds now."""
    try:
        checker.check(world, history)
    except PromiseBroken:
        return False
    return True


def check_limits(world: World) -> None:
    """Raise PromiseBroken when a running node holds more than it may, at any moment of the run."""
    for name in world.running:
        node = world.nodes[name]
        replication, limits = node.replication, node.replication.settings.limits
        for what, held, most in (
            ("upload seat bytes", replication.seats.held_bytes, limits.upload_seat_bytes),
            ("upload send bytes", replication.sending.held_bytes, limits.upload_send_bytes),
            ("download bytes", replication.downloads.held_bytes, limits.download_bytes),
            ("repairs", replication.repair_count, records.REPAIRS_MAX + chunks.REPAIRS_MAX),
            ("calls to one peer", node.peers.call_count, limits.peer_calls_max),
            ("tasks", len(node.life.tasks) if node.life else 0, 4 * limits.peer_calls_max),
        ):
            if held > most:
                raise PromiseBroken("limits", f"{name} holds {held} {what}, at most {most} are allowed")


def leftovers(world: World, name: str) -> str:
    """Return what a node still has under way, empty when nothing."""
    node = world.nodes[name]
    assert node.life is not None
    tasks = (name_of(task) for task in node.life.tasks)
    found = {
        "tasks": sorted(name for name in tasks if not name.startswith(FOR_EVER)),
        "calls": node.peers.open_count,
        "unwritten records": node.store.records.unwritten_count,
        "bytes of uploads": node.replication.seats.held_bytes + node.replication.sending.held_bytes,
        "bytes of downloads": node.replication.downloads.held_bytes,
    }
    return ", ".join(f"{what}: {value}" for what, value in found.items() if value)


def held_by_owners(world: World, file: str) -> dict[str, bytes]:
    """Return {owner: its durable record} of bucket/path."""
    bucket, _, path = file.partition("/")
    key = FileName(bucket, path).key
    return {name: world.nodes[name].store.read_record(key) for name in world.owners(file_hash(key))}


def newest_of(world: World, file: str) -> Version | None:
    """Return the newest version any owner holds."""
    newest = [decode_record(data).newest for data in held_by_owners(world, file).values()]
    held = [version for version in newest if version is not None]
    return max(held, key=lambda version: version.stamp, default=None)


def _told(one: Operation | None) -> str:
    if one is None:
        return "none"
    until = f"{one.returned:.4f}" if one.returned < math.inf else "?"
    return f"{one.kind} {one.value} [{one.called:.4f}-{until}]"
