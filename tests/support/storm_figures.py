"""What the rounds of a storm came to, as lines for the end of a run."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def percentile(values: Iterable[float], share: float) -> float:
    """The value below which that share of them lies."""
    order = sorted(values)
    return order[min(len(order) - 1, int(share * len(order)))]


def lines(rounds: Sequence[Mapping[str, Any]], seed: int) -> list[str]:
    """Returns a line for each round, and what all of them came to; nothing where there was none."""
    if not rounds:
        return []
    told = [_round(one, seed) for one in rounds]
    bouts = [bout for one in rounds for bout in one["bouts"]]
    total = {name: sum(one[name] for one in rounds) for name in rounds[0] if name not in ("round", "s", "bouts")}
    told.append(
        f"storm: {len(rounds)} rounds, {total['faults']} faults, {total['tasks']} tasks: 0 lost, 0 twice, 0 stuck; "
        f"{total['attempts']} attempts ({total['lost']} ended with their process); "
        f"{total['tool_attempts']} attempts at {total['effects']} effects of tools, each had once; "
        f"{total['raw_calls']} calls of another service, {total['taken']} of them taken"
    )
    kinds = sorted({what for what, _, _ in bouts if "+" not in what})
    for kind in [*kinds, *(["all"] if bouts else [])]:
        found = [bout for bout in bouts if kind in ("all", bout[0])]
        paused, after = (_spread([bout[n] for bout in found]) for n in (1, 2))
        told.append(f"storm: {kind}, {len(found)}: no task completed for {paused}; first after the restart in {after}")
    return told


def _round(one: Mapping[str, Any], seed: int) -> str:
    bouts = " ".join(f"{what}:{pause:.1f}/{after:.1f}" for what, pause, after in one["bouts"])
    return f"storm: round {one['round']} of seed {seed}: {one['s']} s, {one['events']} events; {bouts}"


def _spread(values: Sequence[float]) -> str:
    return f"{percentile(values, 0.5):.2f} s (p50), {percentile(values, 0.99):.2f} s (p99)"
