"""How many calls a tenant may have under way at once: the one bound that a caller cannot multiply by more tokens."""

import collections
import contextlib
from collections.abc import Iterator

from haas_common.errors import Overloaded


class TenantSlots:
    """Counts calls under way by tenant, in this process."""

    def __init__(self, per_tenant: int = 16) -> None:
        self._per_tenant = per_tenant
        self._under_way: collections.Counter[str] = collections.Counter()

    @contextlib.contextmanager
    def taken(self, tenant_id: str) -> Iterator[None]:
        """Takes a slot for as long as the block runs. Raises Overloaded when the tenant has them all."""
        if self._under_way[tenant_id] >= self._per_tenant:
            sentence = f"The tenant has {self._per_tenant} tool calls under way; wait for one of them."
            raise Overloaded(sentence, retry_after_s=1)
        self._under_way[tenant_id] += 1
        try:
            yield
        finally:
            self._under_way[tenant_id] -= 1
            if not self._under_way[tenant_id]:
                del self._under_way[tenant_id]
