"""Plans written straight into a test's database, for services that only read them."""

from collections.abc import Mapping, Sequence

import psycopg

from haas_common.db import Scope, Tx
from haas_common.eventstore import NewEvent, Recorded, append
from haas_common.sockets import short_url
from tests.support.samples import sample


class Plans:
    """Seeds tenants, projects and plans as the superuser."""

    def __init__(self, admin_dsn: str) -> None:
        self._connection = psycopg.connect(short_url(admin_dsn), autocommit=True)
        self._connection.execute("SET search_path = haas, public")

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()

    def execute(self, sql: str, *values: object) -> list[tuple]:
        """Runs a statement; returns its rows."""
        cursor = self._connection.execute(sql.encode(), values)
        return cursor.fetchall() if cursor.description else []

    def project(self, scope: Scope) -> None:
        """Makes a project, and its tenant where there is none."""
        self.execute("INSERT INTO tenants (tenant_id) VALUES (%s) ON CONFLICT DO NOTHING", scope.tenant_id)
        self.execute("INSERT INTO projects (tenant_id, project_id) VALUES (%s, %s)", scope.tenant_id, scope.project_id)

    def plan(
        self,
        scope: Scope,
        plan_id: str,
        owners: Mapping[str, str],
        edges: Sequence[tuple[str, str]] = (),
        language: str = "es",
    ) -> None:
        """Makes a running plan: the owner of each task, and who reads from whom."""
        key = (scope.tenant_id, scope.project_id, plan_id)
        self.execute(
            "INSERT INTO plans (tenant_id, project_id, plan_id, shard, state, objective, intent, language,"
            " brief_artifact_id,"
            " profile_id, profile_version, revision, tasks_total, tasks_by_state, last_seq, created_at, updated_at)"
            " VALUES (%s, %s, %s, 0, 'running', 'o', 'i', %s, 'artf-brief', 'p', 1, 1, %s, '{}', 1, now(), now())",
            *key, language, len(owners),
        )  # fmt: skip
        for task_id, owner in owners.items():
            order = [int(n) for n in task_id.removeprefix("T-").split(".")]
            self.execute(
                "INSERT INTO tasks_read (tenant_id, project_id, plan_id, task_id, status, kind, skill, title,"
                " owner_agent_id,"
                " order_key, updated_at) VALUES (%s, %s, %s, %s, 'planned', 'specialist', 's', '', %s, %s, now())",
                *key, task_id, owner, order,
            )  # fmt: skip
        for before, after in edges:
            self.execute("INSERT INTO task_edges VALUES (%s, %s, %s, %s, %s)", *key, before, after)

    def last_seq(self, scope: Scope, plan_id: str, seq: int) -> None:
        """Says where a plan's last event stands."""
        self.execute(
            "UPDATE plans SET last_seq = %s WHERE tenant_id = %s AND project_id = %s AND plan_id = %s",
            seq, scope.tenant_id, scope.project_id, plan_id,
        )  # fmt: skip

    def state(self, scope: Scope, plan_id: str, state: str) -> None:
        """Puts a plan into a state."""
        self.execute(
            "UPDATE plans SET state = %s WHERE tenant_id = %s AND project_id = %s AND plan_id = %s",
            state, scope.tenant_id, scope.project_id, plan_id,
        )  # fmt: skip


async def happen(
    tx: Tx,
    scope: Scope,
    type_: str,
    plan_id: str = "pl-00000001",
    task_id: str = "",
    actor: str = "planner",
    **payload: object,
) -> Recorded:
    """Appends an event of a plan; the fields that are not given are filled in."""
    filled = sample(type_, **payload)
    event = NewEvent(scope, f"plan/{plan_id}", type_, filled, actor, plan_id=plan_id, task_id=task_id)
    return (await append(tx, [event]))[0]
