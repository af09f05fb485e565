"""/v1/ring/…: staging changes of the ring, and seeing what they would take."""

import asyncio
from collections import Counter
from dataclasses import replace

import msgspec
from aiohttp import web

from dynafs.errors import NodesApart, PlanOutdated, RequestInvalid, RingChanged, RingError
from dynafs.http.asking import small_body
from dynafs.http.bodies import json_body
from dynafs.http.changes import parse_change
from dynafs.http.rendering import json_response
from dynafs.operations.node_status import NodeReport
from dynafs.ring.change import Change
from dynafs.ring.history import Past
from dynafs.ring.plan import Plan, copies_without, make_plan
from dynafs.ring.transition import RingState, Step
from dynafs.ring.view import RingView
from dynafs.services import Replication

CHANGE_SIZE_BYTES_MAX = 4096
#: Partitions of one node that are named as still on their way.
PENDING_MAX = 1024
#: How often a change is staged again when another one was decided meanwhile.
STAGE_ATTEMPTS_MAX = 8


class _Commit(msgspec.Struct, forbid_unknown_fields=True):
    hash: str


_commit_decoder = msgspec.json.Decoder(_Commit)


class RingRoutes:
    """Answers about the ring that could be."""

    def __init__(self, replication: Replication) -> None:
        self._replication = replication

    async def plan(self) -> web.StreamResponse:
        """What the staged changes come to."""
        return json_response(await self._planned(self._replication.consensus.state))

    async def clear(self) -> web.StreamResponse:
        """Forget all staged changes; answered with what is left of the plan."""
        return json_response(await self._planned(await self._replication.consensus.amend(RingState.cleared)))

    async def stage(self, request: web.BaseRequest) -> web.StreamResponse:
        """Stage one more change; answered with the plan. Nothing is staged that no ring can be planned for."""
        change = parse_change(await small_body(request, CHANGE_SIZE_BYTES_MAX, self._replication.settings.http))
        change = self._completed(change)
        keeper = self._replication.consensus
        for _ in range(STAGE_ATTEMPTS_MAX):
            staged = keeper.state.staging(change)
            plan = await _plan_of(staged)
            await self._replication.maintenance.check_changes([change], plan)
            try:
                await keeper.propose(staged)
            except RingChanged:
                continue
            return json_response(self._told(staged, plan))
        raise RingChanged(keeper.state.version)

    def _completed(self, change: Change) -> Change:
        """Return a change with what a newcomer itself says of where it is. Raises RequestInvalid when no node does."""
        newcomer, replication = change.newcomer, self._replication
        if newcomer and (kin := replication.newcomers.kin(newcomer)):
            zone = change.zone if change.zone is not None or change.kind != "join" else kin.about.zone or None
            change = replace(change, address=change.address or kin.address, zone=zone)
        change.check()
        if newcomer and not change.address and newcomer not in replication.addresses:
            raise RequestInvalid(
                "address", f"no address of {newcomer} is known: start it first, or say where peers reach it: "
                "--address HOST:PORT",
            )  # fmt: skip
        return change

    async def commit(self, request: web.BaseRequest) -> web.StreamResponse:
        """Begin to move to the ring of a plan, named by its hash; answered with how far that is."""
        body = await small_body(request, CHANGE_SIZE_BYTES_MAX, self._replication.settings.http)
        asked = json_body(body, _commit_decoder, '{"hash": "0123456789abcdef"}')
        keeper = self._replication.consensus
        state = keeper.state
        if not state.staged:
            raise RingError("nothing is staged; prepare changes with `dynafs ring stage`")
        state.check_staged()
        plan = await _plan_of(state)
        if state.step is Step.STABLE and plan.hash != asked.hash:
            raise PlanOutdated(
                f"plan {asked.hash[:40]} is not the present one, {plan.hash}; look at it with `dynafs ring plan` first",
                hash=plan.hash,
            )
        await self._replication.maintenance.check_changes(state.staged, plan)
        before = {member.node for member in plan.before.members}
        newcomers = [member.node for member in plan.after.members if member.node not in before]
        if newcomers and (gaps := await self._replication.surveyor.find_gaps(newcomers)):
            raise NodesApart("; ".join(gaps) + ": start them, or look at the addresses; nothing was changed", gaps=gaps)
        await keeper.propose(state.moving_to(plan.after))
        return await self.transfers()

    async def cancel(self) -> web.StreamResponse:
        """Stay with the present ring; answered like `transfers`."""
        await self._replication.consensus.amend(RingState.cancelled)
        return await self.transfers()

    async def transfers(self) -> web.StreamResponse:
        """How far a change of the ring is: of how many partitions each new owner has everything."""
        view = self._replication.cluster.view
        done = await self._replication.rebalancer.progress(view) if view.state.step is Step.MOVING else {}
        rows = [
            {
                "node": node, "partitions": len(wanted), "done": len(done[node]) if node in done else None,
                "pending": sorted(set(wanted) - set(done.get(node, ())))[:PENDING_MAX],
            }
            for node in view.nodes if (wanted := view.state.pulls(node))
        ]  # fmt: skip
        return json_response({
            "seen_by": self._replication.settings.node.name, "version": view.version, "step": view.state.step,
            "epoch": view.state.ring.epoch, "next_epoch": view.ring.epoch, "nodes": rows,
        })  # fmt: skip

    async def history(self) -> web.StreamResponse:
        """Which rings this node has heard of."""
        register = self._replication.register
        rings = [
            {
                "epoch": past.epoch, "outcome": past.outcome, "changes": past.changes,
                "began_unix_ms": past.began_ms, "ended_unix_ms": past.ended_ms,
            }
            for past in register.history or (Past(register.state.ring.epoch, "founded"),)
        ]  # fmt: skip
        return json_response({"seen_by": self._replication.settings.node.name, "rings": rings})

    async def status(self) -> web.StreamResponse:
        """Every node of the ring, as it says itself; and what an operator should look after."""
        replication = self._replication
        view, told = replication.cluster.view, await replication.surveyor.ask()
        hints = await replication.inspector.hints()
        kept = sum(count for one in hints.values() if not isinstance(one, str) for count, _, _ in one.values())
        problems = _problems(replication, told, kept)
        return json_response({
            "seen_by": replication.settings.node.name, "version": view.version, "step": view.state.step,
            "epoch": view.state.ring.epoch, "next_epoch": view.ring.epoch, "partitions": view.partition_count,
            "n": view.n, "hints": kept, "waiting": replication.newcomers.waiting,
            "has_quorum": replication.has_quorum(), "problems": problems, "nodes": _status_rows(view, told),
        })  # fmt: skip

    async def _planned(self, state: RingState) -> dict[str, object]:
        state.check_staged()
        return self._told(state, await _plan_of(state))

    def _told(self, state: RingState, plan: Plan) -> dict[str, object]:
        settings = self._replication.settings
        per_copy_bytes = self._bytes_per_copy(state)
        return {
            "seen_by": settings.node.name, "version": state.version, "step": state.step,
            "epoch": state.newest.epoch, "hash": plan.hash, "staged": [str(change) for change in state.staged],
            "partitions": plan.after.partition_count, "n": plan.after.n, "w": settings.cluster.w,
            "moves": len(plan.moves), "moves_min": plan.moves_min, "moves_bytes": len(plan.moves) * per_copy_bytes,
            "imbalance": round(plan.imbalance, 4), "warnings": list(plan.warnings),
            "nodes": _nodes(plan, per_copy_bytes), "transfers": _transfers(plan), "losses": _losses(plan),
        }  # fmt: skip

    def _bytes_per_copy(self, state: RingState) -> int:
        """Return how much a partition's copy takes here, and so about anywhere."""
        me = self._replication.settings.node.name
        owned = state.ring.loads.get(me, 0)
        return self._replication.stored_bytes() // owned if owned else 0


async def _plan_of(state: RingState) -> Plan:
    """Return the plan of what is staged. In a large cluster this takes a while; clients should not wait for it."""
    return await asyncio.to_thread(make_plan, state.newest, state.staged, state.epoch_max + 1)


def _status_rows(view: RingView, told: dict[str, NodeReport]) -> list[dict[str, object]]:
    """Return a row for every node. state: U or D for up or down; N normal, J joining, L leaving, M while it stays in a
    ring that moves."""
    before = {member.node: member for member in view.state.ring.members}
    after = {member.node: member for member in view.ring.members}
    rows = []
    for node in sorted(view.nodes):
        member, said = after.get(node) or before[node], told[node]
        if view.state.step is Step.STABLE:
            second = "N"
        else:
            second = "J" if node not in before else "L" if node not in after else "M"
        owned = view.ring.loads.get(node, 0)
        rows.append({
            "node": node, "state": ("D" if said.problem else "U") + second, "zone": member.zone,
            "weight": member.weight, "is_draining": said.is_draining, "started_unix_ms": said.started_ms,
            "partitions": owned, "share": owned / (view.partition_count * view.n),
            "bytes": said.stored_bytes, "epoch": said.epoch, "version": said.version,
            "clock_offset_ms": said.clock_offset_ms, "http": said.http, "problem": said.problem,
        })  # fmt: skip
    return rows


def _problems(replication: Replication, told: dict[str, NodeReport], hints: int) -> list[str]:
    """Return what keeps the ring from being healthy, each with what it comes to."""
    view, found = replication.cluster.view, list[str]()
    if not replication.has_quorum():
        found.append(
            "broken: some files cannot be read or written: too few of their owners are up, or this node refills"
        )
    for node, said in sorted(told.items()):
        if said.problem:
            found.append(f"{node} does not answer ({said.problem}); `dynafs census` tells what has too few copies")
            continue
        if said.is_draining:
            found.append(f"{node} is being drained; `dynafs node resume {node}` puts it back into service")
        if not said.is_whole:
            found.append(f"{node} lost its disk and is being refilled: `dynafs jobs` there tells how far")
        if said.version != view.version:
            found.append(f"{node} knows version {said.version} of the ring, this node {view.version}")
        if abs(said.clock_offset_ms) > replication.settings.cluster.max_clock_skew_ms // 2:
            found.append(
                f"the clock of {node} is {said.clock_offset_ms} ms ahead of this node's; set one of them right"
            )
    if hints:
        found.append(f"{hints} hints wait for nodes that were away: `dynafs hints status`")
    zones = view.ring.zones
    crowded = sum(len({zones[node] for node in owners}) < view.n for owners in view.ring.owners)
    if crowded and len(set(zones.values())) >= view.n:
        found.append(f"{crowded} partitions have two copies in one zone; give the zones more weight alike")
    return found


def _nodes(plan: Plan, per_copy_bytes: int) -> list[dict[str, object]]:
    """Return what every node holds before and after."""
    before, after = plan.before.loads, plan.after.loads
    members = {member.node: member for member in (*plan.before.members, *plan.after.members)}
    incoming = Counter(move.to for move in plan.moves)
    return [
        {
            "node": node, "zone": member.zone, "weight": member.weight, "before": before.get(node, 0),
            "after": after.get(node, 0), "incoming": incoming[node], "incoming_bytes": incoming[node] * per_copy_bytes,
        }
        for node, member in sorted(members.items())
    ]  # fmt: skip


def _transfers(plan: Plan) -> list[dict[str, object]]:
    """Return how many copies go from whom to whom, if everybody is up."""
    pairs = Counter((move.sources[0], move.to) for move in plan.moves)
    return [{"from": source, "to": to, "copies": count} for (source, to), count in sorted(pairs.items())]


def _losses(plan: Plan) -> list[dict[str, object]]:
    """Return what would be left of the new ring's copies without any one node, and without any one zone."""
    zones: dict[str, list[str]] = {}
    for member in plan.after.members:
        zones.setdefault(member.zone, []).append(member.node)
    lost = [("node", member.node, [member.node]) for member in plan.after.members]
    lost += [("zone", zone, nodes) for zone, nodes in sorted(zones.items())]
    return [
        {
            "kind": kind,
            "name": name,
            "copies": {str(k): v for k, v in sorted(copies_without(plan.after, nodes).items())},
        }
        for kind, name, nodes in lost
    ]
