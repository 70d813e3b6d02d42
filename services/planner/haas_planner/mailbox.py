"""What comes in, tenant by tenant: nobody waits behind all that another one's plan brought at once. Pure."""

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """Items by tenant. Taken in turn; of one tenant in the order in which they came."""

    def __init__(self) -> None:
        self._by: OrderedDict[str, deque[Item]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Item]:
        return (item for queue in self._by.values() for item in queue)

    def put(self, tenant: str, item: Item) -> None:
        """Adds an item behind its tenant's."""
        self._by.setdefault(tenant, deque()).append(item)
        self._count += 1

    def put_back(self, items: Iterable[tuple[str, Item]]) -> None:
        """Puts items back before their tenants', in the order in which they had been taken."""
        for tenant, item in reversed(list(items)):
            self._by.setdefault(tenant, deque()).appendleft(item)
            self._count += 1

    def take(self) -> Item:
        """Takes the next item. Raises LookupError when there is none."""
        tenant, queue = next(iter(self._by.items()), ("", None))
        if queue is None:
            raise LookupError("the mailbox is empty")
        item = queue.popleft()
        self._count -= 1
        if queue:
            self._by.move_to_end(tenant)
        else:
            del self._by[tenant]
        return item
