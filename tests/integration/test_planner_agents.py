"""Agents over mTLS with a real database: registration, measured results that a rebuild gives again, and promotions."""

import contextlib
import datetime
import random
from collections.abc import AsyncIterator, Sequence

import grpc.aio
import psycopg
import pytest

from haas.planner.v1 import agents_pb2, agents_pb2_grpc
from haas_client.errors import from_rpc
from haas_common import errors
from haas_common.db import Database, Lease, Scope
from haas_common.doorbell import Doorbell
from haas_common.eventstore import NewEvent, append
from haas_common.key_ring import KeyRing
from haas_common.projections.rebuild import Rebuild
from haas_common.server import started
from haas_common.sockets import short_url
from haas_planner.agents import store
from haas_planner.agents.operations import Agents
from haas_planner.agents.projection import PROJECTIONS
from haas_planner.agents.servicer import AgentsServicer
from haas_planner.agents.worker import LEASE, REVIEW_S, AgentProjector
from tests.support.mesh import Mesh, bearer
from tests.support.relays import settled

ONE, TWO = Scope("t-one", "p-one"), Scope("t-two", "p-one")
TASK = {
    "title": "T", "owner_agent_id": "a", "reads": [], "writes": [], "params": {}, "attempts_max": 1,
    "attempt_limit_s": 9,
}  # fmt: skip
AGENTS = ("specialist.copy", "specialist.new")
FLAGGED = "profile_id: one_v1\nflags: {leader_promotion: true}\nleaders: [team.paid_media, team.content]\n"


class World:
    """A planner's service of agents, its projector, and a database to look into."""

    def __init__(self, database: Database, admin: psycopg.Connection, dsn: str, ring: KeyRing) -> None:
        self.database, self.admin, self.dsn, self.ring = database, admin, dsn, ring
        self.doorbell = Doorbell(database)
        self.plans = 0
        self.now_s = 0.0
        self.projector = self.another()

    def another(self, page: int = 500) -> AgentProjector:
        return AgentProjector(Lease(LEASE, 0), self.database, self.doorbell, page, lambda: self.now_s)

    async def tail(self) -> None:
        await settled(self.projector, self.doorbell)

    async def plan(self, scope: Scope, tasks: Sequence[tuple[str, str, str]], kind: str = "specialist") -> None:
        """A plan of its own with a task for each (skill, agent, how it ended)."""
        await self.keep(scope, self._told(scope, tasks, kind))

    async def keep(self, scope: Scope, events: list[NewEvent]) -> None:
        async with self.database.tenant_tx(scope) as tx:
            await append(tx, events)

    def _told(self, scope: Scope, tasks: Sequence[tuple[str, str, str]], kind: str) -> list[NewEvent]:
        self.plans += 1
        plan_id = f"pl-{self.plans:08d}"
        events: list[NewEvent] = []

        def add(type_: str, task_id: str, actor: str, **payload: object) -> None:
            events.append(NewEvent(scope, f"plan/{plan_id}", type_, payload, actor, plan_id=plan_id, task_id=task_id))

        for n, (skill, agent, end) in enumerate(tasks, start=1):
            task_id = f"T-{n}"
            add(
                "TaskPlanned",
                task_id,
                "planner",
                task={**TASK, "task_id": task_id, "kind": kind, "skill": skill},
                parent="",
            )
            add("TaskStarted", task_id, agent, attempt=1)
            usage = {"tokens": n, "money_micros": 2 * n, "duration_ms": 3 * n}
            if end == "ok":
                add("TaskCompleted", task_id, agent, attempt=1, outputs={}, usage=usage)
            elif end == "failed":
                add("TaskFailed", task_id, agent, attempt=1, reason="TOOL_FAILED", message="No", usage=usage)
        return events

    async def leaders(self, scope: Scope, *results: tuple[str, str, int, int]) -> None:
        """A plan for each (skill, agent, completed, failed), all in one transaction: one look of a projector at them
        sees all, whatever else runs on the cluster.
        """
        ends = [[(skill, agent, "ok")] * ok + [(skill, agent, "failed")] * bad for skill, agent, ok, bad in results]
        await self.keep(scope, [event for tasks in ends for event in self._told(scope, tasks, "leader")])

    def put_profile(self, scope: Scope, yaml: str) -> None:
        self.admin.execute(
            "INSERT INTO haas.profiles (tenant_id, project_id, profile_id, version, yaml, hash)"
            " VALUES (%s, %s, %s, 1, %s, %s)",
            (scope.tenant_id, scope.project_id, "one_v1", yaml, f"sha256:{hash(yaml)}"),
        )

    def table(self, name: str) -> list[str]:
        rows = self.admin.execute(f"SELECT to_jsonb(t)::text FROM haas.{name} AS t".encode()).fetchall()
        return sorted(str(row[0]) for row in rows)

    def history(self, scope: Scope) -> list[tuple[str, str, dict]]:
        return list(
            self.admin.execute(
                "SELECT event_type, stream, payload FROM haas.events WHERE tenant_id = %s AND project_id = %s"
                " AND stream LIKE 'agent/%%' ORDER BY seq",
                (scope.tenant_id, scope.project_id),
            ).fetchall()
        )


@pytest.fixture
async def world(database, data_key) -> AsyncIterator[World]:
    with psycopg.connect(short_url(database.admin_dsn), autocommit=True) as admin:
        admin.execute("SET timezone = 'UTC'")
        for scope in (ONE, TWO):
            admin.execute("INSERT INTO haas.tenants VALUES (%s)", (scope.tenant_id,))
            admin.execute("INSERT INTO haas.projects VALUES (%s, %s)", (scope.tenant_id, scope.project_id))
        opened = await Database.open(database.app_dsn, database.context_key, "haas-planner")
        yield World(opened, admin, database.admin_dsn, KeyRing(data_key))
        await opened.close()


class Api:
    """Calls of the service, as the edge makes them."""

    def __init__(self, mesh: Mesh, channel: grpc.aio.Channel) -> None:
        self.mesh = mesh
        self.stub = agents_pb2_grpc.AgentsStub(channel)

    async def register(self, agent_id: str, *skills: str, role: str = "admin", **more) -> agents_pb2.Agent:
        request = agents_pb2.RegisterAgentRequest(
            tenant_id="t-one", project_id="p-one", agent_id=agent_id, skills=skills,
            kind=more.pop("kind", agents_pb2.AGENT_KIND_SPECIALIST), **more,
        )  # fmt: skip
        return (await self.stub.RegisterAgent(request, metadata=bearer(self.mesh.token(role)))).agent

    async def state(self, agent_id: str, state: int) -> agents_pb2.Agent:
        request = agents_pb2.SetAgentStateRequest(tenant_id="t-one", project_id="p-one", agent_id=agent_id, state=state)
        return (await self.stub.SetAgentState(request, metadata=bearer(self.mesh.token("admin")))).agent

    async def list(self, tenant: str = "t-one") -> dict[str, agents_pb2.Agent]:
        token = self.mesh.token("viewer", tenant)
        request = agents_pb2.ListAgentsRequest(tenant_id=tenant, project_id="p-one")
        return {a.agent_id: a for a in (await self.stub.ListAgents(request, metadata=bearer(token))).agents}


@pytest.fixture
async def api(world: World, tmp_path) -> AsyncIterator[Api]:
    mesh = Mesh(tmp_path)
    servicer = AgentsServicer(Agents(world.database))
    services = [agents_pb2.DESCRIPTOR.services_by_name["Agents"]]
    running = await started(
        mesh.config("planner"), lambda server: agents_pb2_grpc.add_AgentsServicer_to_server(servicer, server), services
    )
    async with mesh.channel("edge", "planner", running.port) as channel:
        yield Api(mesh, channel)
    await running.stop(linger_s=0, grace_s=0)


@contextlib.contextmanager
def refused(reason: str):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield
    assert from_rpc(caught.value).reason == reason


# ── Registration ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_agent_is_registered_once_changed_and_paused_and_each_is_an_event(world: World, api: Api) -> None:
    made = await api.register("specialist.law", "law.check", running_max=2)
    assert (made.registered, made.state, list(made.skills)) == (True, agents_pb2.AGENT_STATE_ACTIVE, ["law.check"])
    assert await api.register("specialist.law", "law.check", running_max=2) == made
    await api.register("specialist.law", "law.check", "law.cite", running_max=3)
    for _ in range(2):
        paused = await api.state("specialist.law", agents_pb2.AGENT_STATE_PAUSED)
    assert (list(paused.skills), paused.running_max) == (["law.check", "law.cite"], 3)
    assert [kind for kind, _, _ in world.history(ONE)] == ["AgentRegistered", "AgentRegistered", "AgentStateChanged"]
    async with world.database.tenant_tx(ONE) as tx:
        roster = await store.roster(tx, ONE, datetime.date(2026, 11, 22))
    assert roster.candidates("law.check") == []


async def test_the_agents_of_built_in_skills_are_there_without_a_row_and_can_be_paused(world: World, api: Api) -> None:
    found = await api.list()
    assert found["specialist.copy"].state == agents_pb2.AGENT_STATE_ACTIVE
    assert not found["specialist.copy"].registered
    assert world.table("agents") == []
    paused = await api.state("specialist.copy", agents_pb2.AGENT_STATE_PAUSED)
    assert list(paused.skills) == list(found["specialist.copy"].skills)
    assert (await api.list())["specialist.copy"].state == agents_pb2.AGENT_STATE_PAUSED


async def test_who_may_not_write_agents_registers_none_and_an_unknown_one_has_no_state(api: Api) -> None:
    with refused("SCOPE_MISSING"):
        await api.register("specialist.law", "law.check", role="member")
    with refused("FIELD_INVALID"):
        await api.register("Specialist Law", "law.check")
    with refused("FIELD_INVALID"):
        await api.register("specialist.law")
    with refused("RESOURCE_NOT_FOUND"):
        await api.state("specialist.nobody", agents_pb2.AGENT_STATE_PAUSED)


async def test_a_project_has_at_most_200_registered_agents(world: World, api: Api) -> None:
    async with world.database.tenant_tx(ONE) as tx:
        payloads = [
            {"agent_id": f"a{n:03d}", "kind": "specialist", "skills": ["x"], "running_max": 0} for n in range(200)
        ]
        await store.save(tx, [NewEvent(ONE, f"agent/{p['agent_id']}", "AgentRegistered", p, "ana") for p in payloads])
    with refused("PAYLOAD_TOO_LARGE"):
        await api.register("b", "x")
    await api.register("a007", "x", "y")


async def test_a_tenant_sees_its_own_agents_and_results_alone(world: World, api: Api) -> None:
    await api.register("specialist.law", "copy.draft")
    await world.plan(ONE, [("copy.draft", "specialist.law", "ok")])
    await world.tail()
    assert (await api.list())["specialist.law"].results[0].completed == 1
    other = await api.list("t-two")
    assert "specialist.law" not in other
    assert all(not agent.results for agent in other.values())
    with refused("TENANT_MISMATCH"):
        request = agents_pb2.ListAgentsRequest(tenant_id="t-two", project_id="p-one")
        await api.stub.ListAgents(request, metadata=bearer(api.mesh.token()))


# ── Results ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_results_are_added_up_by_agent_and_skill(world: World, api: Api) -> None:
    await world.plan(ONE, [("copy.draft", "specialist.copy", end) for end in ("ok", "ok", "failed", "under way")])
    await world.plan(ONE, [("faq.answer", "specialist.copy", "ok")])
    await world.tail()
    drafts, answers = (await api.list())["specialist.copy"].results
    assert (drafts.skill, drafts.completed, drafts.failed, drafts.tokens, drafts.money_micros, drafts.duration_ms) == (
        "copy.draft", 2, 1, 6, 12, 18,
    )  # fmt: skip
    assert drafts.score == pytest.approx(0.2077, abs=1e-4)
    assert (answers.skill, answers.completed) == ("faq.answer", 1)


async def test_results_older_than_90_days_no_longer_count(world: World, api: Api) -> None:
    await world.plan(ONE, [("copy.draft", "specialist.copy", "ok")])
    await world.tail()
    world.admin.execute("UPDATE haas.agent_results SET day = day - 90")
    assert not (await api.list())["specialist.copy"].results


async def test_a_long_plan_that_is_not_known_is_looked_up_page_by_page(world: World, monkeypatch) -> None:
    monkeypatch.setattr(store, "_PAGE", 2)
    await world.plan(ONE, [("copy.draft", "specialist.copy", "ok")] * 5 + [("faq.answer", "specialist.new", "ok")])
    world.projector = world.another(page=1)
    await world.tail()
    kept = "SELECT skill, completed FROM haas.agent_results ORDER BY skill"
    assert world.admin.execute(kept).fetchall() == [("copy.draft", 5), ("faq.answer", 1)]


@pytest.mark.parametrize("seed", range(4))
async def test_live_is_rebuilt_whatever_pages_the_projector_read(world: World, api: Api, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(6):
        scope = chance.choice([ONE, TWO])
        ends = [
            (
                chance.choice(["copy.draft", "faq.answer"]),
                chance.choice(AGENTS),
                chance.choice(["ok", "failed", "open"]),
            )
            for _ in range(chance.randint(1, 9))
        ]
        await world.plan(scope, ends)
        # Another projector knows nothing of the plans before it: it looks them up.
        world.projector = world.another(chance.choice([1, 3, 500]))
        if chance.random() < 0.5:
            await world.tail()
    await api.register("specialist.new", "copy.draft", running_max=chance.randint(0, 3))
    await api.state("specialist.copy", agents_pb2.AGENT_STATE_PAUSED)
    await world.leaders(ONE, ("team.paid_media", "leader.paid_media", 5, 25), ("team.content", "leader.content", 29, 1))
    world.put_profile(ONE, FLAGGED)
    await world.tail()
    for name, made in PROJECTIONS.items():
        before = world.table(name)
        assert before
        found = await Rebuild(made, world.dsn, world.ring).run(swap=True)
        assert found.differing == 0, found.differences
        assert world.table(name) == before


async def test_what_was_not_committed_is_taken_again_and_counted_once(world: World, monkeypatch) -> None:
    await world.plan(ONE, [("copy.draft", "specialist.copy", "ok")])
    kept = store.add_results

    async def lost(tx, rows) -> None:
        await kept(tx, rows)
        raise errors.DatabaseUnavailable("The connection was lost before the commit.")

    monkeypatch.setattr(store, "add_results", lost)
    with pytest.raises(errors.DatabaseUnavailable):
        await world.tail()
    monkeypatch.setattr(store, "add_results", kept)
    await world.tail()
    assert world.admin.execute("SELECT completed FROM haas.agent_results").fetchall() == [(1,)]


# ── Promotion ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def measured(world: World, yaml: str) -> None:
    world.put_profile(ONE, yaml)
    await world.leaders(ONE, ("team.paid_media", "leader.paid_media", 5, 25), ("team.content", "leader.content", 29, 1))
    await world.tail()


async def test_with_the_flag_better_results_promote_a_leader_and_an_event_explains_it(world: World, api: Api) -> None:
    await measured(world, FLAGGED)
    told = {stream: (kind, payload) for kind, stream, payload in world.history(ONE)}
    kind, payload = told["agent/leader.content"]
    assert kind == "AgentPromoted"
    assert (payload["skill"], payload["rank_from"], payload["rank_to"]) == ("team.content", 2, 1)
    assert payload["explanation"].startswith("leader.content moves from place 2 to 1, before leader.paid_media:")
    assert payload["evidence"] == {
        "completed": 29, "failed": 1, "score": 0.8333, "rival": "leader.paid_media", "rival_score": 0.0734,
    }  # fmt: skip
    assert told["agent/leader.paid_media"][0] == "AgentDemoted"
    found = await api.list()
    assert [found[f"leader.{name}"].rank for name in ("content", "paid_media", "support")] == [1, 2, 0]


async def test_without_the_flag_or_a_profile_nobody_is_promoted(world: World) -> None:
    await measured(world, FLAGGED.replace("true", "false"))
    await world.leaders(TWO, ("team.content", "leader.content", 29, 1))
    await world.tail()
    assert world.history(ONE) == world.history(TWO) == []


async def test_a_projects_leaders_are_reviewed_once_a_minute_at_most(world: World) -> None:
    await measured(world, FLAGGED)
    assert len(world.history(ONE)) == 2
    await world.leaders(
        ONE, ("team.paid_media", "leader.paid_media", 4000, 0), ("team.content", "leader.content", 0, 200)
    )
    await world.tail()
    assert len(world.history(ONE)) == 2
    world.now_s += REVIEW_S
    await world.tail()
    assert [(kind, payload["rank_to"]) for kind, _, payload in world.history(ONE)[2:]] == [
        ("AgentPromoted", 1), ("AgentDemoted", 2),
    ]  # fmt: skip
