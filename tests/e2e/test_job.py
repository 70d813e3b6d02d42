"""The main job through the edge: intent, brief, graph, run, artifacts, history, notifications."""

import csv
import io
import os
import random
from collections import Counter
from collections.abc import Iterator
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

import pytest

from haas.notifier.v1 import notifier_pb2, notifier_pb2_grpc
from haas.orchestrator.v1 import orchestrator_pb2, orchestrator_pb2_grpc
from tests.support.apps import CALL_S, EXAMPLES, App, Done, Edge
from tests.support.cli import Cli

ROOT = EXAMPLES.parent
BANK = Path(os.environ.get("HAAS_TEST_DATA", ROOT.parent / "shared" / "data")) / "bank.csv"
FOUR = ("brief.md", "content_calendar.md", "paid_plan.md", "team_report.md")
RESULTS = (EXAMPLES / "medluxe" / "past_campaigns.csv").read_bytes()
PLACES = {"cpl": 2, "cpa": 2, "ctr": 6, "cvr": 6, "roas": 4}


@pytest.fixture(scope="module")
def edge(fleet: Cli) -> Iterator[Edge]:
    with Edge(fleet) as found:
        yield found


@pytest.fixture(scope="module")
def medluxe(edge: Edge) -> App:
    return edge.example("medluxe")


@pytest.fixture(scope="module")
def done(medluxe: App) -> Done:
    return medluxe.job()


def rows_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def csv_of(rows: list[dict[str, Any]]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def without(content: bytes, column: str) -> bytes:
    return csv_of([{k: v for k, v in row.items() if k != column} for row in rows_of(content)])


def computed(rows: list[dict[str, str]], names: dict[str, str]) -> dict[str, Decimal]:
    """The KPIs by our own arithmetic; `names` maps a role to its column."""
    found = {role: sum((Decimal(r[column]) for r in rows), Decimal(0)) for role, column in names.items()}
    ratios = {
        "cpl": ("spend", "leads"), "cpa": ("spend", "conversions"), "ctr": ("clicks", "impressions"),
        "cvr": ("conversions", "clicks"), "roas": ("revenue", "spend"),
    }  # fmt: skip
    for name, (over, under) in ratios.items():
        if over in found and under in found:
            ratio = found[over] / found[under]
            found[name] = ratio.quantize(Decimal(1).scaleb(-PLACES[name]), ROUND_HALF_EVEN)
    return found


def as_decimals(kpis: dict[str, Any]) -> dict[str, Decimal]:
    return {name: Decimal(str(value)) for name, value in kpis.items()}


def test_the_whole_job_over_rest_alone_yields_its_verified_files(medluxe: App) -> None:
    detected = medluxe.post("/v1/intents:detect", text=medluxe.objective)
    assert (detected["intent"], detected["language"], detected["engine"]) == ("campaign.plan", "es", "offline")
    assert detected["slots"]["target_leads"] == "400"
    created = medluxe.create()
    plan_id = created["plan_id"]
    assert created["dag_summary"].count("\n") + 1 == len(created["graph"]["tasks"]) >= 8
    before = medluxe.status(plan_id)
    assert before["state"] == "PLAN_STATE_CREATED"
    assert before["artifact_ids"] == [created["brief_artifact_id"]]

    started = medluxe.run(plan_id)
    assert started["state"] == "PLAN_STATE_RUNNING"
    status = medluxe.status(plan_id)  # reads the write before it
    assert status["state"] in ("PLAN_STATE_RUNNING", "PLAN_STATE_COMPLETED")
    assert int(status["seq"]) > int(before["seq"])

    seen = medluxe.finish(plan_id)
    assert seen[-1].data == {"state": "completed"}
    ended = medluxe.status(plan_id)
    assert ended["state"] == "PLAN_STATE_COMPLETED"
    assert ended["tasks"]["completed"] == ended["tasks"]["total"] > len(created["graph"]["tasks"])
    artifacts = {a["path"]: a for a in medluxe.artifacts(plan_id)}
    assert set(FOUR) <= set(artifacts)
    assert sorted(a["artifact_id"] for a in artifacts.values()) == sorted(ended["artifact_ids"])
    for artifact in artifacts.values():
        verdict = medluxe.get(f"/v1/artifacts/{artifact['artifact_id']}:verify")
        assert verdict["valid"] is True, verdict
        assert verdict["hash_curr"] == artifact["hash_curr"]


def test_the_figures_of_the_reports_are_those_of_the_csv(done: Done) -> None:
    columns = ("spend", "impressions", "clicks", "leads", "conversions", "revenue")
    expected = computed(rows_of(RESULTS), {c: c for c in columns})
    report = done.documents["team_report.md"]
    kpis = as_decimals(report.front["kpis"])
    assert {name: kpis[name] for name in expected} == expected
    (kpi_report,) = done.of_type("kpi.report")
    assert kpi_report.data["rows"] == len(rows_of(RESULTS)) == 233
    assert as_decimals(kpi_report.data["values"]) == expected
    assert "1.539" in report.body
    assert "50,74 €" in report.body


def test_a_stream_resumes_behind_the_last_event_that_the_client_saw(done: Done) -> None:
    path = f"/v1/plans/{done.plan_id}/events"
    with done.app.stream(path) as frames:
        first = [next(frames) for _ in range(5)]
    rest = done.app.finish(done.plan_id, last=first[-1].id)
    ids = [f.id for f in (*first, *rest[:-1])]
    assert ids == sorted(set(ids))
    whole = done.app.finish(done.plan_id)
    assert [f.id for f in whole[:-1]] == ids
    assert [f.data["type"] for f in whole[:-1]] == [f.event for f in whole[:-1]]


def test_a_history_has_no_gap_and_each_stream_counts_from_one(done: Done) -> None:
    events = done.app.events()
    assert [int(e["seq"]) for e in events] == list(range(1, len(events) + 1))
    versions: dict[str, int] = {}
    for event in events:
        versions[event["stream"]] = versions.get(event["stream"], 0) + 1
        assert int(event["version"]) == versions[event["stream"]]
    assert len({e["hash"] for e in events}) == len(events)
    types = [e["type"] for e in events if e["plan_id"] == done.plan_id]
    assert types.count("PlanCompleted") == 1
    assert types.count("TaskCompleted") == done.status["tasks"]["total"]
    assert types.count("ArtifactProduced") == len(done.status["artifact_ids"])


def test_the_same_history_comes_over_grpc(done: Done) -> None:
    app = done.app
    metadata = (("authorization", f"Bearer {app.token}"),)
    with app.edge.channel() as channel:
        stub = notifier_pb2_grpc.NotifierStub(channel)
        request = notifier_pb2.StreamEventsRequest(**app.scope, plan_id=done.plan_id)
        streamed = [r.event.seq for r in stub.StreamEvents(request, metadata=metadata, timeout=CALL_S)]
        plans = orchestrator_pb2_grpc.OrchestratorStub(channel)
        status = plans.GetPlanStatus(
            orchestrator_pb2.GetPlanStatusRequest(**app.scope, plan_id=done.plan_id), metadata=metadata, timeout=CALL_S
        )
    own = [int(e["seq"]) for e in app.events(done.plan_id)]
    assert streamed == own[: len(streamed)]
    assert list(status.artifact_ids) == done.status["artifact_ids"]


def test_owners_concerned_hear_of_it_and_a_bystander_does_not(done: Done) -> None:
    app = done.app
    scope = {**app.scope, "page_size": 500}
    owner = app.edge.token(app.tenant, [app.project], "viewer", ["leader.paid_media"], subject="olga")
    bystander = app.edge.token(app.tenant, [app.project], "viewer", ["specialist.nobody"], subject="bert")
    with app.edge.rest(owner) as client:
        sent = client.get("/v1/notifications", params=scope).json()["notifications"]
    assert sent
    assert {n["receiver_id"] for n in sent} == {"leader.paid_media"}
    assert done.plan_id in {n["content"]["plan_id"] for n in sent}
    assert all(n["tenant_id"] == app.tenant and n["nl_summary"] for n in sent)
    with app.edge.rest(bystander) as client:
        assert client.get("/v1/notifications", params=scope).json().get("notifications", []) == []
    with app.stream("/v1/notifications:stream", last=0, token=owner) as frames:
        first = next(frames)
    assert first.event == "notification"
    assert first.data["receiver_id"] == "leader.paid_media"


def test_a_bystander_stays_silent_while_an_owner_is_told_live(edge: Edge) -> None:
    app = edge.example("medluxe")
    created = app.create()
    owner = edge.token(app.tenant, [app.project], "viewer", ["specialist.media"], subject="olga")
    bystander = edge.token(app.tenant, [app.project], "member", ["specialist.nobody"], subject="bert")
    path = "/v1/notifications:stream"
    with app.stream(path, token=owner) as told, app.stream(path, token=bystander) as silent:
        app.run(created["plan_id"])
        assert next(told).data["content"]["plan_id"] == created["plan_id"]
        app.finish(created["plan_id"])
        # The bystander hears of what it asked for itself, and of nothing before that.
        with edge.rest(bystander) as client:
            asked = {**app.scope, "objective": "Describe nuestro público objetivo"}
            own = client.post("/v1/plans:create", json=asked).json()["plan_id"]
            assert client.post(f"/v1/plans/{own}:run", json=app.scope).status_code == 200
        first = next(silent)
    assert first.data["receiver_id"] == "requester:bert"
    assert first.data["content"]["plan_id"] == own


FIFTH_PROFILE = """
profile_id: olivar_v1
display_name: Aceites del Sur
language: en
models: {reasoning: some-model}
policies:
  tools_allowed: [data.table, artifact.read]
  rate_limits: {data.table: {rpm: 600}}
skills: all
leaders: [team.paid_media]
inputs:
  harvest_ads: {type: table.campaign, description: one row a week}
brand: {audience: home cooks, voice: warm, channels: [newsletter, radio], currency: EUR}
intents:
  report.performance:
    goals: [doc.report]
    examples:
      en: [Analyse the advertising results and tell me which channel works best, Report on the results]
  campaign.plan:
    goals: [doc.paid_plan, doc.team_report]
    examples:
      en: [Plan the spring campaign with a budget of 900 euros, Plan next quarter's campaign with a media plan]
"""


def fifth_rows(seed: int) -> list[dict[str, Any]]:
    chance = random.Random(seed)
    return [
        {
            "week": f"2025-{month:02d}-{day:02d}", "medium": medium, "cost": f"{chance.randint(900, 90000) / 100:.2f}",
            "views": chance.randint(1000, 9000), "clicks": chance.randint(20, 400), "leads": chance.randint(1, 60),
        }
        for month in range(1, 7)
        for day in (6, 20)
        for medium in ("newsletter", "radio", "posters")
    ]  # fmt: skip


def test_a_fresh_tenant_with_its_own_profile_documents_and_csv_gets_figures_that_we_confirm(edge: Edge) -> None:
    app = edge.make("olivar")
    app.put_profile(FIFTH_PROFILE)
    app.put_document("press.md", "# The mill\n\n- We press within six hours.\n- Every bottle names its grove.\n")
    rows = fifth_rows(20251122)
    app.inputs = {"harvest_ads": app.upload("ads.csv", csv_of(rows))["ref"]}
    done = app.job("Plan the spring campaign from March to May 2026 with a budget of 900 euros and a media plan")
    assert done.status["state"] == "PLAN_STATE_COMPLETED", done.status
    expected = computed(
        [{k: str(v) for k, v in r.items()} for r in rows],
        {"spend": "cost", "impressions": "views", "clicks": "clicks", "leads": "leads"},
    )
    kpis = as_decimals(done.documents["team_report.md"].front["kpis"])
    assert {name: kpis[name] for name in expected} == expected
    assert "roas" not in kpis
    assert sum(Decimal(r["amount"]) for r in done.documents["paid_plan.md"].data["rows"]) == Decimal(900)
    assert app.post("/v1/intents:detect", text="Report on the results")["language"] == "en"


def test_another_objective_or_period_makes_another_graph_and_another_text(medluxe: App, done: Done) -> None:
    report = medluxe.job("Analiza los resultados de las campañas y dime qué canal funciona mejor")
    assert report.status["state"] == "PLAN_STATE_COMPLETED"
    assert report.created["dag_summary"] != done.created["dag_summary"]
    assert "report.md" in report.documents
    assert "paid_plan.md" not in report.documents
    november = medluxe.objective.replace("del cuarto trimestre de 2025", "de noviembre de 2025")
    assert november != medluxe.objective
    later = medluxe.job(november)
    assert later.created["dag_summary"] != done.created["dag_summary"]
    days = [e["day"] for e in later.documents["content_calendar.md"].data["entries"]]
    assert {day[:7] for day in days} == {"2025-11"}


def test_another_csv_makes_other_figures(medluxe: App, done: Done) -> None:
    half = csv_of(rows_of(RESULTS)[:99])
    inputs = {"campaign_results": medluxe.upload("half.csv", half)["ref"]}
    other = medluxe.job(inputs=inputs)
    expected = computed(rows_of(half), {"spend": "spend", "leads": "leads"})
    kpis = as_decimals(other.documents["team_report.md"].front["kpis"])
    assert {name: kpis[name] for name in expected} == expected
    assert other.documents["paid_plan.md"].body != done.documents["paid_plan.md"].body


def test_a_column_that_is_gone_is_named_and_nothing_is_invented(medluxe: App) -> None:
    inputs = {"campaign_results": medluxe.upload("no_spend.csv", without(RESULTS, "spend"))["ref"]}
    done = medluxe.job(inputs=inputs)
    (report,) = done.of_type("kpi.report")
    assert "coste por lead (CPL): no calculable; la tabla no tiene columna de inversión o coste." in report.body
    assert not {"spend", "cpl", "cpa", "roas"} & set(report.data["values"])
    assert "cpl" not in done.documents["team_report.md"].front["kpis"]


def test_a_plan_without_the_input_that_it_needs_names_it(medluxe: App) -> None:
    before = len(medluxe.events())
    refused = medluxe.client.post(
        "/v1/plans:create", json={**medluxe.scope, "objective": medluxe.objective, "inputs": {}}
    )
    assert refused.status_code == 400
    info = refused.json()["details"][0]
    assert info["reason"] == "INPUT_MISSING"
    assert "campaign_results" in refused.text
    assert len(medluxe.events()) == before


@pytest.mark.skipif(not BANK.is_file(), reason=f"the real data set is not at {BANK} (HAAS_TEST_DATA names its folder)")
def test_a_real_campaign_yields_its_true_rates_and_says_what_it_cannot_compute(edge: Edge) -> None:
    app = edge.make("bank")
    app.put_profile((EXAMPLES / "medluxe" / "profile.yaml").read_text())
    content = BANK.read_bytes()
    uploaded = app.upload("bank.csv", content)
    assert int(uploaded["rows"]) == 45_211
    app.inputs = {"campaign_results": uploaded["ref"]}
    done = app.job(
        "Analiza los resultados de la campaña: ¿cuál fue el coste por lead y qué segmentos convierten mejor?"
    )
    assert done.status["state"] == "PLAN_STATE_COMPLETED", done.status
    (report,) = done.of_type("kpi.report")
    assert (report.data["yes"], report.data["rows"]) == (5_289, 45_211)
    assert "5.289 de 45.211" in report.body
    assert "coste por lead (CPL): no calculable; la tabla no tiene columna de inversión o coste" in report.body
    (segments,) = done.of_type("kpi.segments")
    parts = {d["column"]: d["groups"] for d in segments.data["dimensions"]}
    rows = rows_of(content)
    for column in ("month", "contact", "poutcome"):
        counted = Counter(r[column] for r in rows)
        converted = Counter(r[column] for r in rows if r["y"] == "yes")
        expected = {value: (counted[value], converted[value]) for value in counted}
        assert {g["value"]: (g["rows"], g["yes"]) for g in parts[column]} == expected
