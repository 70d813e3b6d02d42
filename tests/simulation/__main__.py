"""Replays a seed with its trace, or runs many.

python -m tests.simulation SEED            one seed of the simulation: all that happened, and what does not hold
python -m tests.simulation seeds N [FROM]  many of them: what does not hold
python -m tests.simulation walk SEED       one walk through the pure domain: its history
python -m tests.simulation walks N [FROM]  many of them
"""

import collections
import sys
import time
from collections.abc import Callable

from tests.simulation.world import simulate
from tests.support.plan_walk import walked

#: Of many seeds, how many that are broken are named.
SHOWN_MAX = 20


def main(arguments: list[str]) -> int:
    """Runs what is asked for; 1 where something does not hold."""
    match arguments:
        case ["seeds", count, *first]:
            return _many(_simulated, int(count), int(first[0]) if first else 0)
        case ["walks", count, *first]:
            return _many(_walked, int(count), int(first[0]) if first else 0)
        case ["walk", seed]:
            for number, event in enumerate(walked(int(seed)).events, 1):
                print(number, event.type, event.task_id, dict(event.payload))
            return 0
        case [seed] if seed.isdigit():
            verdict = simulate(int(seed))
            print("\n".join(verdict.trace))
            print(f"seed {seed}: {verdict.plans}, {verdict.commits} commits, trace {verdict.digest()}")
            return _told(verdict.violations)
        case _:
            print(__doc__, file=sys.stderr)
            return 2


def _simulated(seed: int) -> tuple[int, list[str]]:
    verdict = simulate(seed)
    return len(verdict.trace), verdict.violations


def _walked(seed: int) -> tuple[int, list[str]]:
    try:
        return len(walked(seed).events), []
    except Exception as error:  # noqa: BLE001 - the others are still to be walked
        return 0, [f"{type(error).__name__}: {error}"]


def _many(one: Callable[[int], tuple[int, list[str]]], count: int, first: int) -> int:
    began, size, broken = time.monotonic(), 0, collections.Counter[str]()
    for seed in range(first, first + count):
        lines, violations = one(seed)
        size += lines
        for violation in violations[:1]:
            broken["seeds"] += 1
            if broken["seeds"] <= SHOWN_MAX:
                print(f"seed {seed}: {violation}", flush=True)
    took_s = time.monotonic() - began
    print(f"{count} seeds from {first}, {size} lines of history, {took_s:.0f} s: {broken['seeds']} broken")
    return 1 if broken else 0


def _told(violations: list[str]) -> int:
    for violation in violations:
        print(f"BROKEN {violation}", file=sys.stderr)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
