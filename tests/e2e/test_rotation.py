"""Keys and certificates change while the fleet runs, without a failed request."""

import base64
import json
import threading

import grpc
import pytest

from haas.orchestrator.v1 import orchestrator_pb2, orchestrator_pb2_grpc
from haas_cli import remote
from haas_cli.seed import Example
from tests.support.apps import EXAMPLES
from tests.support.cli import Cli


def kid(token: str) -> str:
    head = token.partition(".")[0]
    return json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"]


@pytest.mark.parametrize("issuer", ["gateway", "planner"])
def test_a_token_key_rotates_without_a_failed_request(fleet: Cli, issuer: str) -> None:
    example = Example.read(EXAMPLES / "nwc")
    home = fleet.home
    request = orchestrator_pb2.DetectIntentRequest(**example.scope, text="¿Qué preguntan más los clientes?")
    done, failures, answered = threading.Event(), [], []

    fleet.json("demo", "--app", "nwc")
    with remote.channel(remote.local_address(home)) as opened:
        issue = {"tenant": example.tenant_id, "project": example.project_id, "subject": "ana", "role": "member"}
        before = remote.issue_token(home, **issue).token
        stub = orchestrator_pb2_grpc.OrchestratorStub(opened)

        def call(token: str) -> None:
            try:
                stub.DetectIntent(request, timeout=10, metadata=remote.authorization(token))
            except grpc.RpcError as error:
                failures.append(error.details())
            else:
                answered.append(kid(token))

        def keep_calling() -> None:
            while not done.is_set():
                call(before)
                call(remote.issue_token(home, **issue).token)

        callers = [threading.Thread(target=keep_calling) for _ in range(2)]
        for caller in callers:
            caller.start()
        rotated = [fleet.json("keys", "rotate", "--issuer", issuer)["kid"] for _ in range(2)]
        call(remote.issue_token(home, **issue).token)
        done.set()
        for caller in callers:
            caller.join()
    assert failures == []
    assert kid(before) in answered
    assert (rotated[-1] in answered) == (issuer == "gateway")


def test_the_planners_new_key_carries_the_next_job(fleet: Cli) -> None:
    fleet.json("keys", "rotate", "--issuer", "planner")
    found = fleet.json("demo", "--app", "nwc")
    assert found["state"] == "completed"
    assert found["verified"]


def test_services_use_a_renewed_certificate_at_once(fleet: Cli) -> None:
    """The mesh's authority signs new certificates; the old files are replaced under running services."""
    from haas_cli.fleet.parts import SERVICES
    from haas_common.pki import write_fleet_secrets

    old = {name: (fleet.home.secrets / name / "tls.pem").read_bytes() for name in SERVICES}
    for name in SERVICES:
        (fleet.home.secrets / name / "tls.pem").unlink()
        (fleet.home.secrets / name / "tls.key").unlink()
    write_fleet_secrets(fleet.home.secrets, SERVICES)
    assert all((fleet.home.secrets / name / "tls.pem").read_bytes() != old[name] for name in SERVICES)
    found = fleet.json("demo", "--app", "nwc")
    assert found["verified"]
