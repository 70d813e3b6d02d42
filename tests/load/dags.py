"""The plans that engines are compared with, as plain data. Pure."""

import random
from dataclasses import dataclass

SEED = 20_251


@dataclass(frozen=True, slots=True)
class Dag:
    """Tasks that do nothing, each after those that it reads.

    Attributes:
        tasks: Each task's id, as a plan names it, and the ids of those that it reads; these stand before it.
    """

    name: str
    tasks: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def edges(self) -> int:
        """How many inputs are read."""
        return sum(len(reads) for _, reads in self.tasks)

    def layers(self) -> list[list[str]]:
        """Returns the tasks by the length of the longest road to them: what an engine with barriers runs at once."""
        depth: dict[str, int] = {}
        found: list[list[str]] = []
        for task, reads in self.tasks:
            at = depth[task] = 1 + max((depth[read] for read in reads), default=-1)
            if at == len(found):
                found.append([])
            found[at].append(task)
        return found

    def readers(self) -> dict[str, list[str]]:
        """Returns for each task those that read it."""
        found: dict[str, list[str]] = {task: [] for task, _ in self.tasks}
        for task, reads in self.tasks:
            for read in reads:
                found[read].append(task)
        return found


def fan(width: int = 1000) -> Dag:
    """One task, as many that read it, one that reads them all."""
    middle = [_id(n) for n in range(1, width + 1)]
    tasks = [(_id(0), ()), *((task, (_id(0),)) for task in middle), (_id(width + 1), tuple(middle))]
    return Dag(f"fan 1→{width}→1", tuple(tasks))


def chain(length: int = 200) -> Dag:
    """Each task reads the one before."""
    return Dag(f"chain {length}", tuple((_id(n), (_id(n - 1),) if n else ()) for n in range(length)))


def layered(layers: int = 10, width: int = 100, reads: int = 3, seed: int = SEED) -> Dag:
    """Each task reads that many of the layer before, every third one more: the default has 1,000 tasks, 3,000 edges.

    The layer before is chosen from at random, the same each time for a seed.
    """
    chance = random.Random(seed)
    tasks: list[tuple[str, tuple[str, ...]]] = [(_id(n), ()) for n in range(width)]
    for layer in range(1, layers):
        before = range((layer - 1) * width, layer * width)
        for n in range(width):
            number = layer * width + n
            chosen = sorted(chance.sample(before, reads + (number % 3 == 0)))
            tasks.append((_id(number), tuple(_id(read) for read in chosen)))
    dag = Dag("", tuple(tasks))
    return Dag(f"layered {len(tasks)}/{dag.edges}", dag.tasks)


def all_shapes() -> tuple[Dag, ...]:
    """The three that every engine is measured with."""
    return fan(), chain(), layered()


def _id(n: int) -> str:
    return f"T-{n + 1}"
