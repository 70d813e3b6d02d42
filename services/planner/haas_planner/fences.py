"""What every transaction of a shard's owner that writes begins or ends with: the shard is still its own."""

from haas_common import errors
from haas_common.db import Lease, Tx, load_queries

SQL = load_queries("haas_planner")


async def hold(tx: Tx, lease: Lease) -> None:
    """Makes sure of a lease until the transaction ends. Raises LeaseLost.

    Every transaction of an owner that writes does this, by an append or by this: one that slept through a takeover
    must not take a slot for a task that the next owner has finished, nobody would ever give it back.
    """
    if await tx.maybe(SQL.hold_lease, lease=lease.name, epoch=lease.epoch) is None:
        raise errors.LeaseLost("This writer's lease was taken over.", lease=lease.name)
