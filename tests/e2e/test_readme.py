"""What the README says to type works as it stands, against the fleet that `make demo` leaves up."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import grpc
import jwt
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from haas_client import HaasClient
from tests.house.tree import ROOT, read
from tests.support.cli import Cli

TENANT, PROJECT = "t-medluxe", "p-q4-2025"
METHOD = ("haas.orchestrator.v1.Orchestrator", "DetectIntent")


def blocks(kind: str, page: str = "README.md") -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", read(page), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def demo(fleet: Cli) -> Cli:
    """The fleet as `make demo` leaves it."""
    done = fleet.call("demo")
    assert done.returncode == 0, done.stderr
    return fleet


def variables(demo: Cli) -> dict[str, str]:
    found: dict[str, str] = demo.json("env", "--tenant", TENANT, "--project", PROJECT)
    return found


def bash(demo: Cli, script: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Runs lines in one shell, as somebody pastes them; the first that fails ends it."""
    # The README's .venv/bin/haas, also where the tests run from another environment.
    text = script.replace(".venv/bin/haas", f"{sys.executable} -m haas_cli")
    return subprocess.run(
        ["bash", "-euc", text],
        cwd=folder, env=demo.environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


def test_the_tour_with_curl_runs_as_it_stands(demo: Cli) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    done = bash(demo, "\n".join(blocks("sh tour")))
    assert done.returncode == 0, done.stderr + done.stdout[-2000:]
    assert "event: end" in done.stdout
    assert '"state":"PLAN_STATE_COMPLETED"' in done.stdout
    assert '"valid":true' in done.stdout
    assert "TENANT_MISMATCH" in done.stdout
    assert done.stdout.rstrip().endswith("ok")


def test_the_tour_with_grpcurl_runs_as_it_stands(demo: Cli) -> None:
    if shutil.which("grpcurl") is None:
        pytest.skip("grpcurl is not installed")
    done = bash(demo, "\n".join([blocks("sh tour")[0], *blocks("sh grpcurl")]))
    assert done.returncode == 0, done.stderr
    assert '"intent": "campaign.plan"' in done.stdout


def test_the_same_call_works_by_reflection_alone(demo: Cli) -> None:
    """What grpcurl does: ask for the method's file and what it imports, build the request from that, call."""
    given = variables(demo)
    trusted = grpc.ssl_channel_credentials(Path(given["HAAS_CACERT"]).read_bytes())
    with grpc.secure_channel(given["HAAS_HOST"], trusted) as channel:
        ask = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        token = (("authorization", f"Bearer {given['HAAS_TOKEN']}"),)
        request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=METHOD[0])
        answer = next(iter(ask(iter([request]), metadata=token, timeout=10)))
        pool = descriptor_pool.DescriptorPool()
        files = {
            (found := descriptor_pb2.FileDescriptorProto.FromString(raw)).name: found
            for raw in answer.file_descriptor_response.file_descriptor_proto
        }

        def add(name: str) -> None:
            if name not in files:
                missing = reflection_pb2.ServerReflectionRequest(file_by_filename=name)
                more = next(iter(ask(iter([missing]), metadata=token, timeout=10)))
                for raw in more.file_descriptor_response.file_descriptor_proto:
                    found = descriptor_pb2.FileDescriptorProto.FromString(raw)
                    files[found.name] = found
            for wanted in files[name].dependency:
                if wanted not in added:
                    added.add(wanted)
                    add(wanted)
            pool.Add(files[name])  # type: ignore[no-untyped-call]

        added = {next(iter(files))}
        add(next(iter(files)))
        method = pool.FindServiceByName(METHOD[0]).FindMethodByName(METHOD[1])
        make, parse = (message_factory.GetMessageClass(kind) for kind in (method.input_type, method.output_type))
        detect = channel.unary_unary(
            f"/{METHOD[0]}/{METHOD[1]}",
            request_serializer=make.SerializeToString,
            response_deserializer=parse.FromString,
        )
        text = {"tenant_id": TENANT, "project_id": PROJECT, "text": "Planifica la campaña de otoño"}
        found = detect(json_format.ParseDict(text, make()), metadata=token, timeout=10)
    assert found.intent == "campaign.plan"


def test_the_python_lines_run_as_they_stand(demo: Cli) -> None:
    (code,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **variables(demo)},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "PlanCompleted" in done.stdout
    verified = [line for line in done.stdout.splitlines() if ".md " in line]
    assert verified
    assert all(line.endswith(" True") for line in verified)


# ── How to ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_app_is_integrated_as_the_page_says(demo: Cli, tmp_path: Path) -> None:
    (tmp_path / "profile.yaml").write_text(read("examples/medluxe/profile.yaml"))
    (tmp_path / "brand_guide.md").write_text("# Marca\n\n## Tono\n\nSereno y preciso.\n")
    (tmp_path / "results.csv").write_text(read("examples/medluxe/past_campaigns.csv"))
    done = bash(demo, "\n".join(blocks("sh", "docs/howto/integrate-an-app.md")), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "kpi.compute" in done.stdout


def test_own_data_is_brought_as_the_page_says(demo: Cli, tmp_path: Path) -> None:
    first, then = blocks("sh", "docs/howto/bring-your-own-data.md")
    (tmp_path / "FILE.csv").write_text(read("examples/medluxe/past_campaigns.csv"))
    done = bash(demo, first, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "kpi_report.md").is_file()
    scope = f"export HAAS_TENANT={TENANT} HAAS_PROJECT={PROJECT}\n"
    asked = then.replace("OBJECTIVE", "Analiza los resultados de las campañas")
    done = bash(demo, scope + asked, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "kpi.compute" in done.stdout


def test_keys_rotate_as_the_page_says_without_a_refused_call(demo: Cli) -> None:
    before = variables(demo)["HAAS_TOKEN"]
    lines = "".join(blocks("sh", "docs/howto/rotate-keys.md")).splitlines()
    done = [demo.call(*line.split()[1:]) for line in lines]
    assert [d.returncode for d in done] == [0] * 5, done
    after = variables(demo)
    kids = [jwt.get_unverified_header(token)["kid"] for token in (before, after["HAAS_TOKEN"])]
    assert kids[0] != kids[1]
    assert kids[1] in done[0].stdout
    for token in (before, after["HAAS_TOKEN"]):
        with HaasClient(after["HAAS_URL"], token, TENANT, PROJECT, after["HAAS_CACERT"]) as client:
            assert client.detect_intent("Planifica la campaña de otoño").intent == "campaign.plan"
