"""Fair shares: how many partition copies each node should hold, given weights and zones.

A node can hold at most one copy of a partition, and a zone at most `zone_copies_max`. Where plain proportion would ask
more than that, the surplus flows to the others in proportion to their weights (water filling). The caps are laminar
(nodes inside zones), so filling them greedily is exact, and a placement with every load rounded up or down exists.
"""

from collections.abc import Iterable, Mapping

from dynafs.ring.ring import Member


def zone_copies_max(members: tuple[Member, ...], n: int) -> int:
    """Return the smallest number of copies per zone that still finds room for n: 1 while there are n zones."""
    sizes = zone_sizes(members)
    limit = 1
    while sum(min(limit, size) for size in sizes.values()) < n:
        limit += 1
    return limit


def zone_sizes(members: tuple[Member, ...]) -> dict[str, int]:
    """Return {zone: number of its nodes}."""
    sizes: dict[str, int] = {}
    for member in members:
        sizes[member.zone] = sizes.get(member.zone, 0) + 1
    return sizes


def fair_shares(members: tuple[Member, ...], partition_count: int, n: int) -> dict[str, float]:
    """Return {node: share in partition copies}; the shares sum to n times partition_count."""
    zone_limit = zone_copies_max(members, n) * partition_count
    fixed: dict[str, float] = {}
    while True:
        level = _level(members, fixed, n * partition_count)
        # The level only rises, so a zone that is full now stays full, whatever its nodes were given before.
        capped = _full_zone(members, fixed, level, partition_count, zone_limit) or {
            m.node: float(partition_count)
            for m in members
            if m.node not in fixed and level * m.weight > partition_count
        }
        if not capped:
            return {m.node: fixed.get(m.node, level * m.weight) for m in members}
        fixed.update(capped)


def _level(members: Iterable[Member], fixed: Mapping[str, float], total: float) -> float:
    """Return the share per weight of the nodes that are not fixed."""
    members = list(members)
    free_weight = sum(m.weight for m in members if m.node not in fixed)
    taken = sum(fixed[m.node] for m in members if m.node in fixed)
    return (total - taken) / free_weight if free_weight else 0.0


def _full_zone(
    members: tuple[Member, ...], fixed: Mapping[str, float], level: float, node_limit: float, zone_limit: float
) -> dict[str, float]:
    """Return the shares inside the first zone that asks for more than it may hold at this level; empty when none."""
    for zone in zone_sizes(members):
        inside = [m for m in members if m.zone == zone]
        asked = sum(fixed.get(m.node, min(level * m.weight, node_limit)) for m in inside)
        if asked > zone_limit * (1 + 1e-12):
            return _fill(inside, zone_limit, node_limit)
    return {}


def _fill(members: list[Member], total: float, node_limit: float) -> dict[str, float]:
    """Return shares of a total in proportion to weights, none above the limit."""
    fixed: dict[str, float] = {}
    while True:
        level = _level(members, fixed, total)
        over = [m.node for m in members if m.node not in fixed and level * m.weight > node_limit]
        if not over:
            return {m.node: fixed.get(m.node, level * m.weight) for m in members}
        fixed.update(dict.fromkeys(over, node_limit))
