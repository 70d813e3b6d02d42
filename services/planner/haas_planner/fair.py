"""Whose turn it is: tenants share by weighted round-robin, a tenant's plans by priority and then in turn. Pure."""

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
#: Of a process's room for attempts, what a tenant that is alone leaves free: who comes next need not wait.
HEADROOM = 8


class Turns(Generic[Key]):
    """Keys that wait for their turn, by tenant. A tenant of weight 3 has three turns where one of weight 1 has one."""

    def __init__(self, weight_of: Callable[[str], int] = lambda _tenant: 1) -> None:
        self._weight_of = weight_of
        self._number = itertools.count()
        self._waiting: OrderedDict[str, list[tuple[int, int, Key]]] = OrderedDict()
        self._at: dict[Key, tuple[str, tuple[int, int, Key]]] = {}
        # Turns that the tenant in front has left.
        self._left = 0

    def __len__(self) -> int:
        return len(self._at)

    def __contains__(self, key: Key) -> bool:
        return key in self._at

    def __iter__(self) -> Iterator[Key]:
        return iter(list(self._at))

    def tenants(self) -> int:
        """Returns how many tenants wait."""
        return len(self._waiting)

    def push(self, tenant: str, key: Key, priority: int = 5) -> None:
        """Puts a key behind those of its tenant that have its priority; one that waits already keeps its place."""
        known = self._at.get(key)
        if known is not None:
            if -known[1][0] >= priority:
                return
            self.drop(key)
        entry = (-priority, next(self._number), key)
        heapq.heappush(self._waiting.setdefault(tenant, []), entry)
        self._at[key] = (tenant, entry)

    def pop(self) -> Key:
        """Takes the key whose turn it is. Raises LookupError when none waits."""
        while True:
            tenant = next(iter(self._waiting), None)
            if tenant is None:
                raise LookupError("nobody waits")
            if self._left <= 0:
                self._left = max(1, self._weight_of(tenant))
            found = self._first(tenant)
            self._left -= 1
            if tenant in self._waiting and self._left <= 0:
                self._waiting.move_to_end(tenant)
            elif tenant not in self._waiting:
                self._left = 0
            if found is not None:
                return found

    def _first(self, tenant: str) -> Key | None:
        heap, found = self._waiting[tenant], None
        while heap and found is None:
            entry = heapq.heappop(heap)
            if self._at.get(entry[2], ("", ()))[1] == entry:
                found = entry[2]
                del self._at[found]
        if not heap:
            del self._waiting[tenant]
        return found

    def drop(self, key: Key) -> None:
        """Forgets a key, if it waits; its place in the heap is passed over later."""
        self._at.pop(key, None)


class Room:
    """A process's room for attempts, shared among tenants: what one may hold depends on who else holds or waits."""

    def __init__(self, limit: int, weight_of: Callable[[str], int] = lambda _tenant: 1) -> None:
        self.limit = limit
        self._weight_of = weight_of
        self._held: dict[str, int] = {}
        self._used = 0
        # Who asked for more than there was: (asker, tenant).
        self._wanting: dict[tuple[str, str], None] = {}

    def take(self, asker: str, tenant: str, wanted: int) -> int:
        """Takes room for at most `wanted` attempts of a tenant; returns for how many.

        A tenant that is alone has all of it but an eighth; where others hold or wait for some, no more than its
        weighted share, and those below theirs come first.
        """
        mine = (asker, tenant)
        if wanted <= 0:
            self._wanting.pop(mine, None)
            return 0
        held = self._held.get(tenant, 0)
        granted = max(0, min(wanted, self.limit - self._used, self._most(tenant) - held))
        if granted:
            self._held[tenant] = held + granted
            self._used += granted
        if granted < wanted:
            self._wanting[mine] = None
        else:
            self._wanting.pop(mine, None)
        return granted

    def _most(self, tenant: str) -> int:
        others = {t for t in self._held if t != tenant} | {t for _, t in self._wanting if t != tenant}
        headroom = min(self.limit - 1, max(1, self.limit // HEADROOM)) if self.limit > 1 else 0
        if not others:
            return self.limit - headroom
        whole = self._weight_of(tenant) + sum(map(self._weight_of, others))
        share = max(1, -(-self.limit * self._weight_of(tenant) // whole))
        if any(t != tenant for _, t in self._wanting):
            return share
        # Nobody waits: what others leave free is used, but for what the next one finds at once.
        return max(share, self.limit - headroom)

    def give(self, tenant: str, number: int) -> None:
        """Gives room back."""
        left = self._held.get(tenant, 0) - number
        if left > 0:
            self._held[tenant] = left
        else:
            self._held.pop(tenant, None)
        self._used -= number

    def leave(self, asker: str) -> None:
        """Forgets what an asker waits for."""
        for mine in [m for m in self._wanting if m[0] == asker]:
            del self._wanting[mine]
