"""Whole jobs in memory: intent, brief, graph, every skill, and figures that an independent computation confirms."""

import ast
import csv
import io
import os
import pathlib
import re
from collections import Counter, defaultdict
from decimal import ROUND_HALF_EVEN, Decimal

import pytest

from haas_common.documents import SourceDocument
from haas_common.errors import InputMissing, PlanUnreachable
from haas_common.profiles import load_profile
from haas_planner.skills.registry import SPECS
from tests.support.jobs import EXAMPLES, ROOT, App, prepare, run_job

BANK = pathlib.Path(os.environ.get("HAAS_TEST_DATA", ROOT.parent / "shared" / "data")) / "bank.csv"
FOUR = ("brief.md", "content_calendar.md", "paid_plan.md", "team_report.md")


@pytest.fixture
def medluxe() -> App:
    return App.load(EXAMPLES / "medluxe")


def rows_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def cents(value: Decimal) -> float:
    return float(value.quantize(Decimal("0.01"), ROUND_HALF_EVEN))


def without(content: bytes, column: str) -> bytes:
    rows = rows_of(content)
    out = io.StringIO()
    writer = csv.DictWriter(out, [n for n in rows[0] if n != column], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


async def test_the_campaign_job_yields_its_four_files_with_figures_that_the_csv_confirms(medluxe: App) -> None:
    job = await run_job(medluxe)
    assert {"campaign.plan"} == {job.detected.intent}
    files = {path: job.file(path) for path in FOUR}
    rows = rows_of(medluxe.files["campaign_results"])
    sums = {
        c: sum(Decimal(r[c]) for r in rows)
        for c in ("spend", "leads", "conversions", "revenue", "impressions", "clicks")
    }
    kpis = files["team_report.md"].extra["kpis"]
    assert kpis["spend"] == cents(sums["spend"])
    assert kpis["leads"] == int(sums["leads"])
    assert kpis["cpl"] == cents(sums["spend"] / sums["leads"])
    assert kpis["cpa"] == cents(sums["spend"] / sums["conversions"])
    assert kpis["roas"] == pytest.approx(float(sums["revenue"] / sums["spend"]), abs=5e-5)
    assert kpis["ctr"] == pytest.approx(float(sums["clicks"] / sums["impressions"]), abs=5e-7)
    assert files["team_report.md"].artifact_type == "team_report"
    assert files["team_report.md"].extra["period"] == "2025-10-01..2025-12-31"
    assert files["brief.md"].extra["owner_team"] == "Prompts"
    assert any("400" in c for c in files["brief.md"].extra["acceptance_criteria"])


async def test_every_artifact_says_that_no_model_wrote_it_and_lists_its_sources(medluxe: App) -> None:
    job = await run_job(medluxe)
    for draft in job.drafts.values():
        assert "Sin modelo: " in draft.body_md, draft.path
        assert draft.extra["engine"] == "offline"
        assert draft.sources, draft.path
        assert all(source in draft.body_md for source in draft.sources), draft.path


async def test_the_budget_is_spent_to_the_cent_over_channels_and_months(medluxe: App) -> None:
    job = await run_job(medluxe)
    rows = job.file("paid_plan.md").data["rows"]
    assert sum(Decimal(r["amount"]) for r in rows) == Decimal(24000)
    for row in job.file("pacing.md").data["rows"]:
        assert sum(map(Decimal, row["parts"])) == Decimal(row["total"])
    spent = defaultdict(Decimal)
    for row in rows_of(medluxe.files["campaign_results"]):
        spent[row["channel"]] += Decimal(row["spend"])
    assert all(Decimal(r["amount"]) <= 2 * spent[r["channel"]] / 12 * 3 + Decimal("0.01") for r in rows)


async def test_the_calendar_keeps_to_the_real_days_of_the_period_and_the_documents(medluxe: App) -> None:
    job = await run_job(medluxe)
    entries = job.file("content_calendar.md").data["entries"]
    assert len(entries) == 26
    assert {e["weekday"] for e in entries} == {"martes", "jueves"}
    assert all("2025-10-01" <= e["day"] <= "2025-12-31" for e in entries)
    body = job.file("content_calendar.md").body_md
    assert "20 de noviembre de 2025" in body
    assert "Navidad**" not in body.split("## Calendario")[0]


async def test_the_leader_expands_by_what_the_data_shows(medluxe: App) -> None:
    job = await run_job(medluxe)
    chosen = [c["channel"] for c in job.documents["channels"].data["channels"]]
    children = [t for t in job.graph.tasks if t.task_id.startswith("T-8.")]
    assert [t.params["channel"] for t in children if t.skill == "copy.draft"] == chosen
    rows = rows_of(medluxe.files["campaign_results"])
    kept = "\n".join(
        [",".join(rows[0]), *(",".join(r.values()) for r in rows if r["channel"] in ("tiktok", "facebook"))]
    )
    other = await run_job(medluxe.but(files={"campaign_results": kept.encode()}))
    assert {t.params.get("channel") for t in other.graph.tasks if t.skill == "copy.draft"} == {"tiktok", "facebook"}


async def test_another_objective_makes_another_graph_and_text(medluxe: App) -> None:
    first = await run_job(medluxe)
    other = await run_job(
        medluxe.but(objective="Analiza los resultados de las campañas y dime qué canal funciona mejor")
    )
    assert first.summary != other.summary
    assert {d.path for d in other.drafts.values()} >= {"report.md", "kpi_report.md"}
    assert "paid_plan" not in other.drafts
    only = await prepare(
        medluxe.but(objective="Queremos la campaña de noviembre, pero solo el calendario de contenidos")
    )
    assert only.brief.goals == ["doc.content_calendar"]


async def test_another_period_makes_another_graph_and_calendar(medluxe: App) -> None:
    november = medluxe.but(objective=medluxe.objective.replace("del cuarto trimestre de 2025", "de noviembre de 2025"))
    job, first = await run_job(november), await prepare(medluxe)
    assert "budget.pace" in first.summary
    assert "budget.pace" not in job.summary
    assert {e["day"][:7] for e in job.file("content_calendar.md").data["entries"]} == {"2025-11"}


async def test_another_csv_makes_other_figures(medluxe: App) -> None:
    content = medluxe.files["campaign_results"]
    half = b"\n".join(content.splitlines()[:100]) + b"\n"
    job, first = await run_job(medluxe.but(files={"campaign_results": half})), await run_job(medluxe)
    assert job.file("kpi_report.md").data["rows"] == 99
    assert job.file("paid_plan.md").body_md != first.file("paid_plan.md").body_md


async def test_a_column_that_is_gone_is_named_and_nothing_is_invented(medluxe: App) -> None:
    cut = without(medluxe.files["campaign_results"], "spend")
    job = await run_job(medluxe.but(files={"campaign_results": cut}))
    report = job.file("kpi_report.md")
    assert "coste por lead (CPL): no calculable; la tabla no tiene columna de inversión o coste." in report.body_md
    assert not {"spend", "cpl", "cpa", "roas"} & set(report.data["values"])
    assert "cpl" not in job.file("team_report.md").extra["kpis"]
    assert "coste por lead" in job.file("paid_plan.md").body_md.split("faltan columnas")[1]


async def test_a_required_column_that_is_gone_stops_the_work_and_is_named() -> None:
    nwc = App.load(EXAMPLES / "nwc")
    with pytest.raises(InputMissing) as refused:
        await run_job(nwc.but(files={"tickets": without(nwc.files["tickets"], "categoria")}))
    assert refused.value.metadata["missing"] == "tickets.categoria"
    assert "categoria" in refused.value.message


async def test_an_input_that_was_not_given_is_named_with_its_use(medluxe: App) -> None:
    with pytest.raises(InputMissing) as refused:
        await prepare(medluxe.but(files={}))
    assert refused.value.metadata["missing"] == "campaign_results"
    assert "doc.paid_plan" in refused.value.message


async def test_a_goal_that_no_skill_of_the_profile_reaches_is_refused() -> None:
    nwc = App.load(EXAMPLES / "nwc")
    with pytest.raises(PlanUnreachable) as refused:
        await prepare(nwc.but(objective="Solo quiero el plan de medios de los tickets de soporte"))
    assert refused.value.metadata["missing"] == "doc.paid_plan"


@pytest.mark.parametrize("name", ["nwc", "brandistry", "silhouette", "medluxe"])
async def test_every_example_runs_to_its_end(name: str) -> None:
    app = App.load(EXAMPLES / name)
    assert all("ficticios" in d.text for d in app.documents)
    job = await run_job(app)
    assert job.detected.confidence > 0.4
    assert {t.task_id for t in job.graph.tasks} == set(job.tasks)


@pytest.mark.parametrize("name", ["nwc", "brandistry", "silhouette", "medluxe"])
async def test_every_figure_of_a_breakdown_adds_up_to_the_whole(name: str) -> None:
    job = await run_job(App.load(EXAMPLES / name))
    data = job.documents["kpi_segments"].data
    assert data["dimensions"]
    for part in data["dimensions"]:
        assert sum(g["rows"] for g in part["groups"]) == data["rows"], part["role"]
        for total in ("leads", "conversions", "interactions"):
            if total in data["overall"]:
                assert sum(g["values"][total] for g in part["groups"]) == data["overall"][total]


EVERYTHING = sorted({kind for spec in SPECS for _, kind in spec.writes})
ENGLISH = "Plan the campaign for the fourth quarter of 2025 with a budget of €9,000 to get 300 leads"
SPANISH = "Prepara la campaña del cuarto trimestre de 2025 con un presupuesto de 9.000 € para conseguir 300 leads"


@pytest.mark.parametrize("leader", ["team.paid_media", "team.content", "team.support"])
@pytest.mark.parametrize(("objective", "mark"), [(ENGLISH, "No model wrote this: "), (SPANISH, "Sin modelo: ")])
@pytest.mark.parametrize("documents", [True, False], ids=["with documents", "without documents"])
@pytest.mark.parametrize("rows", [1000, 1, 0])
async def test_every_skill_works_in_both_languages_with_much_little_or_nothing(
    medluxe: App, leader: str, objective: str, mark: str, documents: bool, rows: int
) -> None:
    table = b"\n".join(medluxe.files["campaign_results"].splitlines()[: rows + 1]) + b"\n"
    profile = medluxe.profile.model_copy(update={"leaders": [leader]})
    kept = medluxe.documents if documents else ()
    app = medluxe.but(objective=objective, files={"campaign_results": table}, profile=profile, documents=kept)
    job = await run_job(app, goals=EVERYTHING)
    assert {t.skill for t in job.tasks.values()} >= {s.name for s in SPECS if s.kind == "specialist"} | {leader}
    for draft in job.drafts.values():
        assert mark in draft.body_md, draft.path
        assert not re.search(r"\{\{|\}\}|\bNone\b(?! of|\.)|Undefined|\bnan\b", draft.body_md), draft.path
        tables = re.findall(r"(?:^\|.*\n)+", draft.body_md, re.MULTILINE)
        assert all(len({line.replace("\\|", "").count("|") for line in t.splitlines()}) == 1 for t in tables), (
            draft.path
        )


FIFTH = """
profile_id: huerta_v3
language: en
policies: {tools_allowed: [data.table]}
skills: all
leaders: [team.support]
inputs: {boxes: {type: table.subscriptions}}
intents:
  churn.review:
    goals: [doc.report, doc.team_report]
    examples: {en: [Why do subscribers leave, Report on renewals of our boxes]}
"""


async def test_a_fifth_tenant_with_a_fresh_profile_gets_kpis_that_a_count_confirms() -> None:
    lines = ["opened_at,region,box,coste_eur,renewed"]
    for i in range(90):
        lines.append(
            f"2025-0{1 + i % 6}-1{i % 9},{'north' if i % 3 else 'south'},"
            f"{'small' if i % 2 else 'large'},{i}.5,{'Y' if i % 5 else 'N'}"
        )
    content = ("\n".join(lines) + "\n").encode()
    document = SourceDocument.of("box.md", "# Boxes\n\n## What is in a small box?\n\nSix kinds of vegetables.\n")
    app = App(
        load_profile(FIFTH),
        (document,),
        "Report on the renewals of our boxes: why do subscribers leave?",
        {"boxes": content},
    )
    job = await run_job(app)
    rows = rows_of(content)
    assert job.detected.intent == "churn.review"
    data = job.file("kpi_report.md").data
    assert data["yes"] == sum(r["renewed"] == "Y" for r in rows) == 72
    assert data["values"]["spend"] == float(sum(Decimal(r["coste_eur"]) for r in rows))
    assert data["values"]["cpa"] == cents(sum(Decimal(r["coste_eur"]) for r in rows) / 72)
    assert "No model wrote this: " in job.file("report.md").body_md
    assert "cost per lead (CPL): not computable — the table has no leads column." in job.file("report.md").body_md


@pytest.mark.skipif(not BANK.exists(), reason=f"{BANK} is not there: it is real data outside the project")
async def test_the_real_bank_campaign_is_measured_as_a_plain_count_measures_it(medluxe: App) -> None:
    content = BANK.read_bytes()
    objective = (
        "Analiza los resultados de la campaña: meses, tipo de contacto y resultado anterior, y el coste por lead."
    )
    job = await run_job(medluxe.but(objective=objective, files={"campaign_results": content}))
    rows = rows_of(content)
    report = job.file("kpi_report.md")
    assert (report.data["yes"], report.data["rows"]) == (5289, 45211)
    assert "5.289 de 45.211" in report.body_md
    assert "coste por lead (CPL): no calculable" in report.body_md
    parts = {d["column"]: d["groups"] for d in job.documents["kpi_segments"].data["dimensions"]}
    for column in ("month", "contact", "poutcome"):
        counted = Counter(r[column] for r in rows)
        converted = Counter(r[column] for r in rows if r["y"] == "yes")
        assert {g["value"]: (g["rows"], g["yes"]) for g in parts[column]} == {
            v: (n, converted[v]) for v, n in counted.items()
        }


def test_no_code_path_knows_a_demo_tenant() -> None:
    names = re.compile(r"medluxe|brandistry|silhouette|\bnwc\b", re.IGNORECASE)
    folders = ("services/planner/haas_planner", "services/orchestrator/haas_orchestrator", "libs/common/haas_common")
    files = [p for f in folders for kind in ("*.py", "*.j2", "*.sql") for p in (ROOT / f).rglob(kind)]
    assert len(files) > 60
    assert [str(p) for p in files if names.search(without_comments(p))] == []


def without_comments(path: pathlib.Path) -> str:
    """A file without docstrings and comments: an example in a sentence is no code path."""
    if path.suffix != ".py":
        return path.read_text()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value.value = ""
    return ast.unparse(tree)
