"""Medians of several rounds, as a table that people compare."""

import statistics

from tools.bench.cases import Result, unit

Rounds = dict[str, dict[str, list[Result]]]
#: {case: {target: medians}}
Medians = dict[str, dict[str, Result]]


def medians(rounds: Rounds) -> Medians:
    """Return the median of every figure; failures are added up instead."""
    return {
        case: {
            name: Result(*(statistics.median(one) for one in list(zip(*results, strict=True))[:-1]),
                         failed=sum(one.failed for one in results))
            for name, results in by_target.items()
        }
        for case, by_target in rounds.items()
    }  # fmt: skip


def ratio(rounds: Rounds, case: str, mine: str, theirs: str, field: str) -> float:
    """Return the median over the rounds of one figure of a target, divided by that of another in the same round."""
    pairs = zip(rounds[case][mine], rounds[case][theirs], strict=True)
    return statistics.median(getattr(a, field) / max(getattr(b, field), 1e-9) for a, b in pairs)


def table(rounds: Rounds, names: list[str]) -> str:
    """Return a Markdown table: a row per case and target. The ratios divide the first target by the row's."""
    found, first = medians(rounds), names[0]
    lines = [
        "| case | system | rate | p50 ms | p99 ms | p99.9 ms | CPU ms/request | failed | rate ratio | CPU ratio |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for case, by_target in found.items():
        for name in names:
            one = by_target[name]
            compared = ["", ""]
            if name != first:
                compared = [f"{ratio(rounds, case, first, name, field):.2f}" for field in ("rate", "cpu_ms")]
            figures = [
                f"{one.rate:.1f} {unit(case)}",
                *(f"{value:.2f}" for value in one[1:5]),
                str(one.failed),
                *compared,
            ]
            lines.append(f"| {case} | {name} | " + " | ".join(figures) + " |")
    return "\n".join(lines)
