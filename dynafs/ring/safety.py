"""Safety: whether enough copies stay within reach when nodes are taken away."""

from collections.abc import Collection, Iterable, Sequence


def count_short(owner_lists: Iterable[Sequence[str]], serving: Collection[str], needed: int) -> tuple[int, int]:
    """Return of how many owner lists fewer than `needed` nodes serve, and the least number that serve one of them.

    owner_lists: one for each partition, and for each ring whose owners a write needs a quorum of.
    """
    counts = [sum(node in serving for node in owners) for owners in owner_lists]
    short = [count for count in counts if count < needed]
    return len(short), min(short, default=needed)


def reason_of(
    when: str, owner_lists: Iterable[Sequence[str]], serving: Collection[str], needed: int, away: Sequence[str]
) -> str:
    """Return why it is not safe to go on with these nodes only, empty when it is.

    when: begins the sentence. away: nodes that do not serve at present, each with why.
    """
    short, least = count_short(owner_lists, serving, needed)
    if not short:
        return ""
    why = f"; {', '.join(away)}" if away else ""
    return f"{when} {short} partitions have as few as {least} copies within reach, and need {needed}{why}"
