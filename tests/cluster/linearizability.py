"""A checker for histories of one register (Wing and Gong 1993, with Lowe's memo of visited states).

An operation took effect at one moment between its call and its return. One whose outcome is unknown may take effect at any
later moment, or never. The search tries every order that this allows; it is exponential only in what truly overlapped.
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
    count = len(operations)
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
        limit = min((operations[i].returned for i in range(count) if not done >> i & 1), default=math.inf)
        for i in range(count):
            if done >> i & 1:
                continue
            operation = operations[i]
            if operation.called > limit:
                break
            if operation.kind == "write":
                stack.append((done | 1 << i, operation.value))
            elif operation.value == state:
                stack.append((done | 1 << i, state))
    return False
