"""Skills of remote workers: kept as a worker registers, so that plans can be checked while none is there; removed."""

import hashlib
from datetime import datetime
from typing import NamedTuple

from pydantic_core import to_json

from haas_common.db import Database, Scope
from haas_common.errors import ResourceExists, ResourceNotFound
from haas_common.eventstore import NewEvent, append
from haas_planner.remote import store
from haas_planner.remote.domain import Contract, Registration
from haas_planner.skills.registry import BY_NAME, SPECS
from haas_planner.skills.spec import SkillSpec


class Listed(NamedTuple):
    """A skill; of a remote worker's its contract and when it was kept."""

    spec: SkillSpec
    contract: Contract | None = None
    kept_at: datetime | None = None


class Skills:
    """The skills of all projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, registration: Registration) -> None:
        """Keeps what a worker can do; each skill that is new or another than before is an event.

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
            known = {contract.name: contract for contract, _ in await store.contracts(tx, scope)}
            # In one order, so that two workers that come at once do not wait for each other crosswise.
            ours = sorted(registration.contracts, key=lambda c: c.name)
            fresh = [contract for contract in ours if known.get(contract.name) != contract]
            for contract in fresh:
                await store.keep(tx, scope, contract)
            if fresh:
                await append(tx, [_registered(registration, contract) for contract in fresh])

    async def listed(self, scope: Scope) -> list[Listed]:
        """Returns a project's skills by name, the fleet's own among them."""
        async with self._database.tenant_tx(scope) as tx:
            theirs = [Listed(contract.spec(), contract, at) for contract, at in await store.contracts(tx, scope)]
        return sorted([*map(Listed, SPECS), *theirs], key=lambda one: one.spec.name)

    async def remove(self, scope: Scope, skill: str, actor: str) -> None:
        """Forgets a remote worker's skill.

        Raises:
            ResourceNotFound: there is none of that name; the fleet's own stay.
        """
        async with self._database.tenant_tx(scope) as tx:
            agent_id = await store.remove(tx, scope, skill)
            if agent_id is None:
                raise ResourceNotFound(f"No remote worker brought a skill {skill}.", resource="skill", id=skill)
            await append(
                tx, [NewEvent(scope, _stream(skill), "SkillRemoved", {"skill": skill, "agent_id": agent_id}, actor)]
            )


def _stream(skill: str) -> str:
    return f"skill/{skill}"


def _registered(registration: Registration, contract: Contract) -> NewEvent:
    """Returns the event of a contract, which may be too large to stand in one: its hash is there."""
    kept = to_json({"skill": contract.name, "agent_id": contract.agent_id, **contract.to_json()})
    contract_hash = f"sha256:{hashlib.sha256(kept).hexdigest()}"
    payload = {"skill": contract.name, "agent_id": contract.agent_id, "contract_hash": contract_hash}
    return NewEvent(registration.scope, _stream(contract.name), "SkillRegistered", payload, registration.subject)
