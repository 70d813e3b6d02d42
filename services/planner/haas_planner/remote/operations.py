"""A worker registers: its skills are kept, so that plans can be validated against them while no worker is there."""

from haas_common.db import Database
from haas_common.errors import ResourceExists
from haas_planner.remote import store
from haas_planner.remote.domain import Registration
from haas_planner.skills.registry import BY_NAME


class Skills:
    """The remote skills of all projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, registration: Registration) -> None:
        """Keeps what a worker can do.

        Raises:
            ResourceExists: the fleet, or another agent, has a skill of such a name.
            Overloaded: the project has as many skills as it may.
        """
        for contract in registration.contracts:
            if contract.name in BY_NAME:
                text = f"The fleet has a skill {contract.name} itself."
                raise ResourceExists(text, resource="skill", id=contract.name)
        scope = registration.scope
        async with self._database.tenant_tx(scope) as tx:
            known = {contract.name: contract for contract in await store.contracts(tx, scope)}
            # In one order, so that two workers that come at once do not wait for each other crosswise.
            for contract in sorted(registration.contracts, key=lambda c: c.name):
                if known.get(contract.name) != contract:
                    await store.keep(tx, scope, contract)
