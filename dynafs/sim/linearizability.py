"""A checker for histories of one register (Wing and Gong 1993, with Lowe's memo of visited states).

An operation took effect at one moment between its call and its return. One whose outcome is unknown may take effect at
any later moment, or never. The search tries every order that this allows; it is exponential only in what overlapped.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

ABSENT = None


@dataclass(frozen=True)
class Operation:
    """kind: "write" (value written, None for a delete) or "read" (value seen). returned: infinity if never known."""

    kind: str
    value: str | None
    called: float
    returned: float = math.inf


def is_linearizable(history: Sequence[Operation]) -> bool:
    """Return whether some order of the operations explains every read."""
    operations = sorted(history, key=lambda one: one.called)
    required = sum(1 << i for i, one in enumerate(operations) if one.returned < math.inf)
    seen: set[tuple[int, str | None]] = set()
    stack: list[tuple[int, str | None]] = [(0, ABSENT)]
    while stack:
        done, state = stack.pop()
        if done & required == required:
            return True
        if (done, state) in seen:
            continue
        seen.add((done, state))
        candidates = _candidates(operations, done)
        # A read that fits takes nothing from anyone else: it may as well come first.
        fitting = [i for i in candidates if operations[i].kind == "read" and operations[i].value == state]
        if fitting:
            stack.append((done | sum(1 << i for i in fitting), state))
            continue
        # The write that returned first is tried first, those that never did come last.
        writes = [i for i in candidates if operations[i].kind == "write"]
        ordered = sorted(writes, key=lambda i: operations[i].returned, reverse=True)
        stack += [(done | 1 << i, operations[i].value) for i in ordered]
    return False


def _candidates(operations: Sequence[Operation], done: int) -> list[int]:
    """Return the operations that may come next: called before any other one that is not done returned."""
    found: list[int] = []
    limit = math.inf
    for i, operation in enumerate(operations):
        if operation.called > limit:
            break
        if not done >> i & 1:
            found.append(i)
            limit = min(limit, operation.returned)
    return [i for i in found if operations[i].called <= limit]


def first_violation(history: Sequence[Operation], context: int = 8) -> list[Operation]:
    """Return the last operations of the shortest prefix, by return, that no order explains."""
    ended = sorted(history, key=lambda one: one.returned)
    low, high = 0, len(ended)
    while low < high:
        middle = (low + high) // 2
        until = ended[middle].returned
        prefix = [one for one in history if one.returned <= until]
        prefix += [
            Operation(one.kind, one.value, one.called)
            for one in history
            if one.kind == "write" and one.called <= until < one.returned
        ]
        low, high = (middle + 1, high) if is_linearizable(prefix) else (low, middle)
    return ended[max(0, low - context) : low + 1]
