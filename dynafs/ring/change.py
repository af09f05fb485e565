"""Staged changes: what an operator wants of the members, before a ring is laid out for it.

Changes are folded in their order into a list of members. What cannot be, such as leaving twice, is refused where it is
staged; nothing moves before a ring that has them is committed.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from dynafs.errors import ChangeRefused, RequestInvalid
from dynafs.ring.names import checked_address, checked_label, checked_node, checked_weight
from dynafs.ring.ring import Member

Kind = Literal["join", "leave", "replace", "weight", "zone"]


@dataclass(frozen=True, slots=True)
class Change:
    """One thing to be different.

    node: who joins, leaves, is replaced, or gets a weight or zone. by: who replaces it. weight, zone: of one that joins
    or is changed; None keeps what it has, or for one that joins means 1.0 and "default". address: HOST:PORT where peers
    reach a newcomer; empty when their settings say it.
    """

    kind: Kind
    node: str
    by: str = ""
    weight: float | None = None
    zone: str | None = None
    address: str = ""

    def __str__(self) -> str:
        """Return it as an operator would say it."""
        match self.kind:
            case "replace":
                return f"replace {self.node} by {self.by}"
            case "weight":
                return f"weight of {self.node} to {'nothing' if self.weight is None else format(self.weight, 'g')}"
            case "zone":
                return f"zone of {self.node} to {'nothing' if self.zone is None else self.zone}"
            case _:
                return f"{self.kind} {self.node}"

    @property
    def newcomer(self) -> str:
        """The node that it makes a member, empty when there is none."""
        return {"join": self.node, "replace": self.by}.get(self.kind, "")

    def check(self) -> None:
        """Raise RequestInvalid, naming the field, unless each field keeps its rule and its kind has what it needs.

        The name of a node that is a member already is not judged: it must be possible to have it leave.
        """
        if self.kind == "join":
            checked_node(self.node)
        elif self.kind == "replace":
            checked_node(self.by, "by")
        for field, value in (("weight", self.weight), ("zone", self.zone)):
            if self.kind == field and value is None:
                raise RequestInvalid(field, f"give the {field} that the node is to have")
        if self.weight is not None:
            checked_weight(self.weight)
        if self.zone is not None:
            checked_label(self.zone)
        if self.address:
            checked_address(self.address)


def changed(members: tuple[Member, ...], changes: Iterable[Change]) -> tuple[Member, ...]:
    """Return the members after all changes, in the order of their names. Raises RequestInvalid, ChangeRefused."""
    found = {member.node: member for member in members}
    for change in changes:
        _apply(found, change)
    return tuple(found[node] for node in sorted(found))


def replacements(changes: Iterable[Change]) -> dict[str, str]:
    """Return {node: who takes its place, and all it owns}."""
    return {change.node: change.by for change in changes if change.kind == "replace"}


def _apply(members: dict[str, Member], change: Change) -> None:
    change.check()
    newcomer = change.newcomer
    if newcomer in members:
        raise ChangeRefused(str(change), f"{newcomer} is a member already")
    if change.kind == "join":
        members[change.node] = Member(change.node, change.zone or "default", change.weight or 1.0, change.address)
        return
    if change.node not in members:
        checked_node(change.node)
        raise ChangeRefused(str(change), f"{change.node} is no member; members are {', '.join(sorted(members))}")
    before = members.pop(change.node)
    if change.kind == "leave":
        return
    members[newcomer or change.node] = replace(
        before,
        node=newcomer or before.node,
        weight=before.weight if change.weight is None else change.weight,
        zone=before.zone if change.zone is None else change.zone,
        address=change.address if newcomer else before.address,
    )
