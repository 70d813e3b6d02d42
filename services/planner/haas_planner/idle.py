"""Plans that are in memory although they only wait: a bounded number, the latest of them. Pure."""

from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
#: How many tasks of plans that only wait a shard keeps in memory; the others are folded anew when they are due.
IDLE_TASKS_MAX = 2_000


class Idle(Generic[Key]):
    """Plans by key, the one that waits longest first, with how many tasks they have."""

    def __init__(self, tasks_max: int = IDLE_TASKS_MAX) -> None:
        self._tasks_max = tasks_max
        self._tasks: dict[Key, int] = {}
        self._total = 0

    def put(self, key: Key, tasks: int) -> None:
        """Adds a plan, or puts it behind the others."""
        self.drop(key)
        self._tasks[key] = tasks
        self._total += tasks

    def drop(self, key: Key) -> None:
        """Forgets a plan."""
        self._total -= self._tasks.pop(key, 0)

    def surplus(self) -> Key | None:
        """Takes the plan that waits longest where there are too many tasks; one plan, however large, may stay."""
        if self._total <= self._tasks_max or len(self._tasks) < 2:
            return None
        key = next(iter(self._tasks))
        self.drop(key)
        return key
