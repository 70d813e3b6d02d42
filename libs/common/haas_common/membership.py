"""Instances of one kind that share work: each says that it is there and counts who else is, by the database's clock."""

import dataclasses

from haas_common.db import Database, Lease
from haas_common.doorbell import Doorbell
from haas_common.eventstore import SQL

#: Rung when who is there, or what is free, has changed.
TOPIC = "leases"


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """Those that share a set of leases.

    Attributes:
        kind: what they are, for example "planner".
        address: where this instance is reached, host:port.
        doorbell: wakes the others when one comes or goes; without one they find out at their next renewal.
    """

    kind: str
    address: str
    doorbell: Doorbell | None = None

    def ring(self) -> None:
        """Wakes every member, this one too. Call it after the commit."""
        if self.doorbell is not None:
            self.doorbell.ring(TOPIC)


class Membership:
    """One instance's place in its group."""

    def __init__(self, database: Database, group: Group, instance: str, ttl_s: float) -> None:
        """Takes the place; nothing is written yet.

        Args:
            database: the services' own role.
            group: what the instance belongs to.
            instance: its name; the same after a restart.
            ttl_s: how long the others count it after its last beat.
        """
        self._database = database
        self._group = group
        self._instance = instance
        self._ttl_s = ttl_s
        # No shard: row security shows the members to nobody else.
        self._context = Lease(f"member/{group.kind}", 0)

    async def beat(self, timeout_s: float) -> int:
        """Says that the instance is there; returns how many are, itself included. Rings when it is new."""
        async with self._database.batch_tx(self._context, [], timeout_s=timeout_s) as tx:
            found = await tx.one(
                SQL.member_beats, kind=self._group.kind, instance=self._instance, address=self._group.address,
                ttl_s=self._ttl_s,
            )  # fmt: skip
        if found["joined"]:
            self._group.ring()
        return int(found["living"])

    async def leave(self) -> None:
        """Takes the instance out, and rings."""
        async with self._database.batch_tx(self._context, []) as tx:
            await tx.run(SQL.member_leaves, kind=self._group.kind, instance=self._instance)
        self._group.ring()


async def living(database: Database, kind: str) -> dict[str, str]:
    """Returns the members that are there: the address of each, host:port, by its instance's name."""
    async with database.batch_tx(Lease(f"member/{kind}", 0), []) as tx:
        rows = await tx.all(SQL.living_members, kind=kind)
    return {row["instance"]: row["address"] for row in rows}
