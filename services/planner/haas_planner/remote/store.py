"""The skills of remote workers as they are kept, a named query each."""

import datetime
import json

from haas_common.db import Scope, Tx, load_queries
from haas_common.errors import Overloaded, ResourceExists
from haas_planner.remote.domain import SKILLS_MAX, Contract
from haas_planner.skills.spec import SkillSpec

SQL = load_queries("haas_planner")


async def keep(tx: Tx, scope: Scope, contract: Contract) -> None:
    """Keeps a skill's contract; one that its agent kept before is replaced.

    Raises:
        ResourceExists: the skill is another agent's.
        Overloaded: the project has as many skills as it may.
    """
    row = await tx.one(
        SQL.keep_worker_skill, tenant_id=scope.tenant_id, project_id=scope.project_id, skill=contract.name,
        agent_id=contract.agent_id, contract=json.dumps(contract.to_json(), ensure_ascii=False), skills_max=SKILLS_MAX,
    )  # fmt: skip
    if row["others"] >= SKILLS_MAX:
        raise Overloaded(f"A project has at most {SKILLS_MAX} skills of remote workers.", retry_after_s=60)
    if not row["kept"]:
        raise ResourceExists(f"The skill {contract.name} is another agent's.", resource="skill", id=contract.name)


async def contracts(tx: Tx, scope: Scope) -> list[tuple[Contract, datetime.datetime]]:
    """Returns the remote skills of a project by name, each with when it was kept."""
    rows = await tx.all(SQL.worker_skills, tenant_id=scope.tenant_id, project_id=scope.project_id)
    return [(Contract.from_json(r["skill"], r["agent_id"], r["contract"]), r["registered_at"]) for r in rows]


async def specs(tx: Tx, scope: Scope) -> list[SkillSpec]:
    """Returns the remote skills of a project as rows of the registry: specialists that nothing here runs."""
    return [contract.spec() for contract, _ in await contracts(tx, scope)]


async def remove(tx: Tx, scope: Scope, skill: str) -> str | None:
    """Forgets a remote skill; returns whose it was, None where there is none."""
    row = await tx.maybe(SQL.remove_worker_skill, tenant_id=scope.tenant_id, project_id=scope.project_id, skill=skill)
    return str(row["agent_id"]) if row else None
