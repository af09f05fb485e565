"""Making a failing experiment smaller while it fails in the same way (Zeller's delta debugging, 2002)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import msgspec

from dynafs.sim.options import WorldOptions
from dynafs.sim.plan import Fault, Plan, RingChange, Step

T = TypeVar("T")

#: Runs that shrinking may take.
RUNS_MAX = 400


class Shrinker:
    """Tries smaller plans. fails: whether a plan still breaks the same promise."""

    def __init__(self, fails: Callable[[Plan], bool], runs_max: int = RUNS_MAX) -> None:
        self._fails = fails
        self.runs_left = runs_max

    def shrink(self, plan: Plan) -> Plan:
        """Return the smallest failing plan found within the allowed runs."""
        before = None
        while plan != before and self.runs_left > 0:
            before = plan
            plan = self._fewer_faults(plan)
            plan = self._fewer_changes(plan)
            plan = self._fewer_steps(plan)
            plan = self._fewer_nodes(plan)
            plan = self._calmer(plan)
        return plan

    def _try(self, smaller: Plan, plan: Plan) -> Plan:
        if smaller == plan or self.runs_left <= 0:
            return plan
        self.runs_left -= 1
        return smaller if self._fails(smaller) else plan

    def _fewer_faults(self, plan: Plan) -> Plan:
        def with_faults(faults: Sequence[Fault]) -> Plan:
            return msgspec.structs.replace(plan, faults=tuple(faults))

        return with_faults(self._fewest(plan.faults, with_faults))

    def _fewer_changes(self, plan: Plan) -> Plan:
        def with_changes(changes: Sequence[RingChange]) -> Plan:
            return msgspec.structs.replace(plan, changes=tuple(changes))

        return with_changes(self._fewest(plan.changes, with_changes))

    def _fewer_steps(self, plan: Plan) -> Plan:
        """Take all clients' steps as one list, so that whole clients go first."""
        numbered = [(number, step) for number, steps in enumerate(plan.clients) for step in steps]

        def with_steps(kept: Sequence[tuple[int, Step]]) -> Plan:
            clients = [tuple(step for owner, step in kept if owner == number) for number in range(len(plan.clients))]
            return msgspec.structs.replace(plan, clients=tuple(clients))

        return with_steps(self._fewest(numbered, with_steps))

    def _fewest(self, items: Sequence[T], make: Callable[[Sequence[T]], Plan]) -> Sequence[T]:
        """Leave out ever smaller parts of a list for as long as the plan still fails."""
        size = len(items)
        while size > 0 and self.runs_left > 0:
            start = 0
            while start < len(items) and self.runs_left > 0:
                fewer = [*items[:start], *items[start + size :]]
                self.runs_left -= 1
                if self._fails(make(fewer)):
                    items = fewer
                else:
                    start += size
            size //= 2
        return items

    def _fewer_nodes(self, plan: Plan) -> Plan:
        """Take the last node away and give its part to the first."""
        options = plan.options
        if options.nodes <= options.n:
            return plan
        last = f"n{options.nodes}"

        def other(node: str) -> str:
            return "n1" if node == last else node

        clients = tuple(
            tuple(msgspec.structs.replace(step, node=other(step.node)) for step in steps) for steps in plan.clients
        )
        faults = tuple(
            msgspec.structs.replace(fault, nodes=nodes)
            for fault in plan.faults
            if len(nodes := tuple(dict.fromkeys(map(other, fault.nodes)))) == len(fault.nodes)
        )
        changes = tuple(msgspec.structs.replace(change, node=other(change.node)) for change in plan.changes)
        smaller = replace(
            options,
            nodes=options.nodes - 1,
            founders=min(options.founders, options.nodes - 1),
            clock_offsets_ms={node: ms for node, ms in options.clock_offsets_ms.items() if node != last},
            clock_drifts={node: drift for node, drift in options.clock_drifts.items() if node != last},
        )
        fewer = msgspec.structs.replace(plan, options=smaller, clients=clients, faults=faults, changes=changes)
        return self._try(fewer, plan)

    def _calmer(self, plan: Plan) -> Plan:
        """Take away what goes wrong all the time, one thing after the other."""
        for change in (_punctual, _without_loss, _without_repeats, _with_right_clocks):
            calmer = msgspec.structs.replace(plan, options=change(plan.options))
            plan = self._try(calmer, plan)
        return plan


def _punctual(options: WorldOptions) -> WorldOptions:
    return replace(options, network=replace(options.network, late=0.0))


def _without_loss(options: WorldOptions) -> WorldOptions:
    return replace(options, network=replace(options.network, lost=0.0))


def _without_repeats(options: WorldOptions) -> WorldOptions:
    return replace(options, network=replace(options.network, repeated=0.0))


def _with_right_clocks(options: WorldOptions) -> WorldOptions:
    return replace(options, clock_offsets_ms={}, clock_drifts={})
