"""`haas demo`: the main job on real input, from an objective in plain words to verified artifacts."""

import json
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from haas_cli.errors import Exit, NotRunning, UsageError
from haas_cli.fleet.home import Home

if TYPE_CHECKING:
    from haas.notifier.v1.notifier_pb2 import Event
    from haas_cli.seed import Example
    from haas_client import HaasClient

EXAMPLES = Path(__file__).resolve().parents[4] / "examples"
_TOLD = {
    "IntentDetected", "BriefCreated", "PlanCreated", "PlanStarted", "TaskCompleted", "TaskExpanded", "ToolInvoked",
    "TaskRetryScheduled", "TaskFailed", "PlanCompleted", "PlanFailed",
}  # fmt: skip


@click.command()
@click.option("--app", default="medluxe", show_default=True, help="The example whose job runs (a folder of examples/).")
@click.option(
    "--data",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Your own table (CSV or JSON) instead of the example's.",
)
@click.option("--objective", help="Your own objective, in Spanish or English.")
@click.option("--lenient", is_flag=True, help="Count broken rows of the table and go on without them.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Write the artifacts into this folder as well."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(app: str, data: Path | None, objective: str | None, lenient: bool, out: Path | None, as_json: bool) -> int:
    """Start the fleet if need be, set up the example apps, run one app's job and verify its artifacts."""
    from haas_cli import api
    from haas_cli.seed import Example, publish, register

    home = Home.from_env()
    examples = {path.parent.name: Example.read(path.parent) for path in sorted(EXAMPLES.glob("*/tenant.yaml"))}
    if app not in examples:
        raise UsageError(f"There is no example named {app}; there are {', '.join(examples)}.")
    say = _say_nothing if as_json else click.echo
    _ensure_running(home, say)
    with api.operator() as operator:
        for example in examples.values():
            register(operator, example)
    for example in examples.values():
        with api.client((example.tenant_id, example.project_id), "admin", here=True) as admin:
            publish(admin, example)
    say(f"apps: {', '.join(f'{e.tenant_id}/{e.project_id}' for e in examples.values())}")
    chosen = examples[app]
    with api.client((chosen.tenant_id, chosen.project_id), here=True) as client:
        inputs = {}
        for name, path in _inputs(chosen, data).items():
            kept = client.upload_input(path, lenient=lenient)
            inputs[name] = kept.ref
            say(f"input {name}: {path.name}, {kept.rows} rows, {len(kept.columns)} columns, {kept.ref[:19]}…")
        say(f"objective: {objective or chosen.objective}\n")
        outcome = _run(client, objective or chosen.objective, inputs, say)
    if out is not None:
        _write(out, outcome)
    if as_json:
        click.echo(json.dumps(_document(chosen, outcome), ensure_ascii=False, indent=1))
    else:
        _summary(home, chosen, outcome)
    if outcome.state != "completed":
        return int(Exit.FAILED)
    return int(Exit.OK if outcome.verified else Exit.UNVERIFIED)


@dataclass(slots=True)
class Outcome:
    """What came of the job."""

    plan_id: str
    intent: str
    state: str
    failure: str
    seconds: float
    events: int
    artifacts: list[dict[str, Any]]

    @property
    def verified(self) -> bool:
        """Whether every artifact's chain holds."""
        return bool(self.artifacts) and all(a["valid"] for a in self.artifacts)


def _run(client: "HaasClient", objective: str, inputs: dict[str, str], say: Any) -> Outcome:
    """Creates and runs the plan, tells its events, has every artifact's chain recomputed."""
    from haas_cli.api import as_dict, plain

    began = monotonic()
    made = client.create_plan(objective, inputs)
    client.run_plan(made.plan_id)
    events = 0
    for event in client.watch(made.plan_id):
        events += 1
        _tell(event, say)
    status = client.plan_status(made.plan_id)
    artifacts = [_verified(client, artifact_id) for artifact_id in status.artifact_ids]
    state = plain(as_dict(status)["state"]).lower()
    return Outcome(made.plan_id, made.intent, state, status.failure, monotonic() - began, events, artifacts)


def _verified(client: "HaasClient", artifact_id: str) -> dict[str, Any]:
    found, verdict = client.get_artifact(artifact_id), client.verify_artifact(artifact_id)
    return {
        "artifact_id": artifact_id,
        "path": found.artifact.path,
        "type": found.artifact.type,
        "task_id": found.artifact.task_id,
        "hash_curr": found.artifact.hash_curr,
        "valid": verdict.valid,
        "problem": verdict.problem,
        "content": found.content,
    }


def _say_nothing(text: str) -> None:
    """Stands for the lines that --json leaves out."""


def _inputs(example: "Example", data: Path | None) -> dict[str, Path]:
    """The example's tables; the user's own takes the place of the first."""
    found = dict(example.inputs)
    if data is not None:
        found[next(iter(found))] = data
    return found


def _ensure_running(home: Home, say: Any) -> None:
    from haas_cli import remote
    from haas_cli.commands.up import start_detached

    try:
        remote.local_address(home)
    except NotRunning:
        say("starting the fleet …")

        def hear(event: dict[str, object]) -> None:
            if event["event"] == "ready":
                say(f"fleet ready in {event['start_s']} s at {event['url']}")

        start_detached(home, hear)


def _tell(event: "Event", say: Any) -> None:
    if event.type in _TOLD:
        say(f"  {event.seq:>5}  {event.type:<18} {event.task_id:<7} {event.actor}")


def _write(folder: Path, outcome: Outcome) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for artifact in outcome.artifacts:
        prefix = f"{artifact['task_id']}-" if artifact["task_id"].count(".") else ""
        (folder / f"{prefix}{artifact['path']}").write_text(artifact["content"], encoding="utf-8")


def _document(example: "Example", outcome: Outcome) -> dict[str, Any]:
    return {
        **example.scope,
        "plan_id": outcome.plan_id,
        "intent": outcome.intent,
        "state": outcome.state,
        "failure": outcome.failure,
        "seconds": round(outcome.seconds, 3),
        "events": outcome.events,
        "verified": outcome.verified,
        "artifacts": outcome.artifacts,
    }


def _summary(home: Home, example: "Example", outcome: Outcome) -> None:
    click.echo(f"\nplan {outcome.plan_id}: {outcome.state} in {outcome.seconds:.2f} s, {outcome.events} events")
    if outcome.failure:
        click.echo(f"  {outcome.failure}", err=True)
    for artifact in outcome.artifacts:
        mark = "verified" if artifact["valid"] else f"NOT VERIFIED: {artifact['problem']}"
        click.echo(f"  {artifact['path']:<24} {artifact['hash_curr'][:19]}…  {mark}")
    report = next((a for a in outcome.artifacts if a["path"] == "team_report.md"), None)
    named = report["artifact_id"] if report else (outcome.artifacts[-1]["artifact_id"] if outcome.artifacts else "ID")
    click.echo(
        f"\nWhere to look:\n"
        f'  eval "$(.venv/bin/haas env --tenant {example.tenant_id} --project {example.project_id})"\n'
        f"  .venv/bin/haas artifacts get {named}\n"
        f"  .venv/bin/haas plan status {outcome.plan_id}\n"
        f"  .venv/bin/haas events tail --plan {outcome.plan_id}\n"
        f"  the API's description: https://127.0.0.1:{_port(home)}/docs · logs: {home.log}\n"
        f"Stop everything with `make down`."
    )


def _port(home: Home) -> int:
    from haas_cli.fleet.state import read

    return read(home).edge_port
