"""Whose turn it is: tenants share by weighted round-robin, of a tenant's plans who was served longest ago. Pure."""

import collections
import heapq
import itertools
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
#: Of a process's room for attempts, what a tenant that is alone leaves free: who comes next need not wait.
HEADROOM = 8


class Turns(Generic[Key]):
    """Keys that wait for their turn, by tenant. A tenant of weight 3 has three turns where one of weight 1 has one.

    Of a tenant's keys those of the highest priority come first; of these, who was served longest ago; of these,
    who waits longest. Waiting alone would not do: whoever has all the room is pushed again with each of its
    results, before there is room for anybody else.
    """

    def __init__(self, weight_of: Callable[[str], int] = lambda _tenant: 1) -> None:
        self._weight_of = weight_of
        self._number = itertools.count()
        self._waiting: OrderedDict[str, list[tuple[int, int, int, Key]]] = OrderedDict()
        self._at: dict[Key, tuple[str, tuple[int, int, int, Key]]] = {}
        # When a key was served last, as a number that only grows.
        self._served: dict[Key, int] = {}
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
            del self._at[key]
        entry = (-priority, self._served.get(key, 0), next(self._number), key)
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
            if self._at.get(entry[3], ("", ()))[1] == entry:
                found = entry[3]
                del self._at[found]
        if not heap:
            del self._waiting[tenant]
        return found

    def served(self, key: Key, much: int) -> None:
        """Notes that a key got something in its turn, if it did: it comes behind those that did not."""
        if much:
            self._served[key] = next(self._number)

    def place(self, key: Key) -> tuple[int, int, int]:
        """Returns where a key that waits stands among those of its tenant: the lowest comes first."""
        return self._at[key][1][:3]

    def drop(self, key: Key) -> None:
        """Forgets a key; its place in the heap, if it waits, is passed over later."""
        self._at.pop(key, None)
        self._served.pop(key, None)


class Activity:
    """Which tenants were at work lately: with one alone, batches are large; with several, nobody waits for long."""

    def __init__(self, for_s: float = 1.0) -> None:
        self._for_s = for_s
        self._seen: dict[str, float] = {}

    def see(self, tenant: str, now_s: float) -> None:
        """Something was decided for a tenant."""
        self._seen[tenant] = now_s

    def tenants(self, now_s: float) -> int:
        """Returns how many tenants there were."""
        for tenant in [t for t, at in self._seen.items() if at < now_s - self._for_s]:
            del self._seen[tenant]
        return len(self._seen)


class Room:
    """A process's room for attempts, shared among tenants: what one may hold depends on who else holds or waits."""

    def __init__(self, limit: int, weight_of: Callable[[str], int] = lambda _tenant: 1) -> None:
        self.limit = limit
        self._weight_of = weight_of
        self._held: dict[str, int] = {}
        self._used = 0
        # Who asked for more than there was: (asker, tenant); and how many askers of a tenant did.
        self._wanting: dict[tuple[str, str], None] = {}
        self._askers: collections.Counter[str] = collections.Counter()
        # The weights of those that hold or wait, and their sum.
        self._weights: dict[str, int] = {}
        self._whole = 0

    def take(self, asker: str, tenant: str, wanted: int) -> int:
        """Takes room for at most `wanted` attempts of a tenant; returns for how many.

        A tenant that is alone has all of it but an eighth; where others hold or wait for some, no more than its
        weighted share, and those below theirs come first.
        """
        free, granted = self.limit - self._used, 0
        if free > 0 and wanted > 0:
            held = self._held.get(tenant, 0)
            granted = max(0, min(wanted, free, self._most(tenant) - held))
            if granted:
                self._held[tenant] = held + granted
                self._used += granted
        self._want((asker, tenant), is_wanting=granted < wanted)
        self._weigh(tenant)
        return granted

    def _want(self, mine: tuple[str, str], *, is_wanting: bool) -> None:
        if is_wanting and mine not in self._wanting:
            self._wanting[mine] = None
            self._askers[mine[1]] += 1
        elif not is_wanting and mine in self._wanting:
            del self._wanting[mine]
            self._askers[mine[1]] -= 1
            if not self._askers[mine[1]]:
                del self._askers[mine[1]]

    def _weigh(self, tenant: str) -> None:
        """Keeps a tenant's weight in the sum for as long as it holds or waits."""
        weight = self._weight_of(tenant) if tenant in self._held or tenant in self._askers else 0
        self._whole += weight - self._weights.pop(tenant, 0)
        if weight:
            self._weights[tenant] = weight

    def _most(self, tenant: str) -> int:
        others = self._whole - self._weights.get(tenant, 0)
        headroom = min(self.limit - 1, max(1, self.limit // HEADROOM)) if self.limit > 1 else 0
        if not others:
            return self.limit - headroom
        weight = self._weight_of(tenant)
        share = max(1, -(-self.limit * weight // (weight + others)))
        if len(self._askers) > (tenant in self._askers):
            return share
        # Nobody else waits: what others leave free is used, but for what the next one finds at once.
        return max(share, self.limit - headroom)

    def give(self, tenant: str, number: int) -> None:
        """Gives room back."""
        left = self._held.get(tenant, 0) - number
        if left > 0:
            self._held[tenant] = left
        else:
            self._held.pop(tenant, None)
            self._weigh(tenant)
        self._used -= number

    def leave(self, asker: str) -> None:
        """Forgets what an asker waits for."""
        for mine in [m for m in self._wanting if m[0] == asker]:
            self._want(mine, is_wanting=False)
            self._weigh(mine[1])
