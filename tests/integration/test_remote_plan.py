"""A plan whose tasks remote workers do: the real shard, attempts, artifacts and stream together."""

from haas_client.worker import Output, Task, skill
from haas_common.artifacts.faults import FaultLog
from haas_common.artifacts.store import ArtifactStore
from haas_common.auth import Issuer
from haas_common.channels import Channels
from haas_common.models import model_for
from haas_planner import graph
from haas_planner.remote import store as remote_store
from haas_planner.remote.work import RemoteSkills
from haas_planner.work import Worker
from tests.integration import test_planner_shard as shards
from tests.integration.conftest import TestDatabase
from tests.support.plans import Plans
from tests.support.remote import at_work, planner

SCOPE = shards.SCOPE
PROFILE = "profile_id: p\nskills: [text.count, text.report]\n"


@skill("text.count", writes={"count": "value.count"})
def count(task: Task) -> int:
    """Counts."""
    return len(task.params["text"].split())


@skill("text.report", reads={"count": "value.count"}, writes={"report": "doc.count_report"})
async def report(task: Task) -> Output:
    """Reports."""
    words = task.read("count").data
    return Output("Report", f"# Report\n\n{words} words.", {"words": words})


def task(number: int, name: str, reads: tuple[graph.Slot, ...], writes: graph.Slot, **params: object) -> graph.Task:
    return graph.Task(f"T-{number}", "specialist", name, "", "agent.words", reads, (writes,), params, 2, 20)


async def test_remote_workers_do_a_plans_tasks_and_their_artifacts_are_signed_and_kept(
    tmp_path, database: TestDatabase
) -> None:
    late: list[Worker] = []

    async def work(assignment):
        return await late[0].do(assignment)

    async with shards.fleet_of(database, work) as fleet, planner(tmp_path, fleet.database) as remote:
        plans = Plans(database.admin_dsn)
        plans.execute(
            "INSERT INTO profiles (tenant_id, project_id, profile_id, version, yaml, hash)"
            " VALUES ('t-one', 'p-main', 'p', 1, %s, 'sha256:x')",
            PROFILE,
        )
        plans.close()
        config = remote.mesh.config("planner")
        channels = Channels(config)
        late.append(
            Worker(
                fleet.database, ArtifactStore.of(config, FaultLog(fleet.database, fleet.doorbell, "planner")), channels,
                Issuer(config.secret_path("token.pem"), "pl"),
                lambda profile: model_for("", "", "", profile.models),
                remote=RemoteSkills(remote.pool, lambda scope, plan_id: 1), more_specs=remote_store.specs,
            )
        )  # fmt: skip
        token = remote.mesh.token("worker", projects=("p-main",))
        settings = {"project_id": "p-main", "token": token}
        tasks = [
            task(1, "text.count", (), graph.Slot("n", "value.count"), text="one two three"),
            task(2, "text.report", (graph.Slot("n", "value.count", "T-1"),), graph.Slot("r", "doc.count_report")),
        ]
        worker = remote.worker(skills=[count, report])
        worker._settings.update(settings)
        async with at_work(worker):
            assert await fleet.create("pl-00000001", tasks) == "created"
            assert await fleet.command("pl-00000001", "run", "r-run") == "running"
            over = await fleet.over("pl-00000001")
            assert over["state"] == "completed", over
        async with fleet.database.tenant_tx(SCOPE) as tx:
            plan = (await shards.store.load_plan(tx, SCOPE, "pl-00000001")).plan
            artifact_id = plan.tasks["T-2"].outputs["r"]
            record = await late[0].artifacts.head(tx, SCOPE, artifact_id)
        file = (await late[0].artifacts.read(SCOPE, record)).decode()
        assert plan.tasks["T-1"].values == {"n": 3}
        assert "3 words." in file
        assert "agent.words" in file
        await channels.close()
