"""The registry: every skill, in the order in which drafting prefers them."""

from haas_planner.graph import Task
from haas_planner.skills import content, data, knowledge, leaders, media, reports
from haas_planner.skills.spec import SkillSpec

TABLE = ("data.table",)


def _titles(es: str, en: str) -> dict[str, str]:
    return {"es": es, "en": en}


_SPECIALISTS = (
    SkillSpec(
        "data.profile",
        "specialist",
        (("table", "table.*"),),
        (("data_profile", "doc.data_profile"),),
        "specialist.data",
        _titles("Describir los datos", "Describe the data"),
        TABLE,
        run=data.profile_table,
    ),
    SkillSpec(
        "kpi.compute",
        "specialist",
        (("table", "table.*"),),
        (("kpi_report", "kpi.report"),),
        "specialist.analytics",
        _titles("Calcular los indicadores", "Compute the indicators"),
        TABLE,
        run=data.compute_kpis,
    ),
    SkillSpec(
        "kpi.segment",
        "specialist",
        (("table", "table.*"), ("kpi_report", "kpi.report")),
        (("kpi_segments", "kpi.segments"),),
        "specialist.analytics",
        _titles("Separar los resultados por segmento", "Break the results down"),
        TABLE,
        run=data.segment_kpis,
    ),
    SkillSpec(
        "research.extract",
        "specialist",
        (("brief", "doc.brief"),),
        (("research", "doc.research"),),
        "specialist.research",
        _titles("Extraer citas de los documentos", "Extract quotes from the documents"),
        run=knowledge.extract_research,
    ),
    SkillSpec(
        "audience.describe",
        "specialist",
        (("brief", "doc.brief"), ("kpi_segments", "kpi.segments?")),
        (("audience", "doc.audience"),),
        "specialist.research",
        _titles("Describir el público", "Describe the audience"),
        slots=("audience",),
        run=knowledge.describe_audience,
    ),
    SkillSpec(
        "channel.select",
        "specialist",
        (("kpi_segments", "kpi.segments"),),
        (("channels", "plan.channels"),),
        "specialist.media",
        _titles("Elegir los canales", "Choose the channels"),
        slots=("channels", "target_leads", "target_conversions", "target_revenue"),
        run=media.select_channels,
    ),
    SkillSpec(
        "budget.allocate",
        "specialist",
        (("channels", "plan.channels"),),
        (("budget_plan", "plan.budget"),),
        "specialist.media",
        _titles("Repartir el presupuesto", "Allocate the budget"),
        slots=("period", "budget", "budget_currency", "target_leads", "target_conversions", "target_revenue"),
        run=media.allocate_budget,
    ),
    SkillSpec(
        "budget.pace",
        "specialist",
        (("budget_plan", "plan.budget"), ("kpi_segments", "kpi.segments?")),
        (("pacing", "plan.pacing"),),
        "specialist.media",
        _titles("Repartir el presupuesto por meses", "Pace the budget by month"),
        slots=("period",),
        months_min=2,
        run=media.pace_budget,
    ),
    SkillSpec(
        "paid.plan",
        "specialist",
        (
            ("budget_plan", "plan.budget"),
            ("channels", "plan.channels"),
            ("kpi_report", "kpi.report"),
            ("pacing", "plan.pacing?"),
        ),
        (("paid_plan", "doc.paid_plan"),),
        "specialist.media",
        _titles("Escribir el plan de medios de pago", "Write the paid media plan"),
        slots=("period",),
        run=media.plan_paid,
    ),
    SkillSpec(
        "calendar.plan",
        "specialist",
        (("brief", "doc.brief"), ("channels", "plan.channels?")),
        (("content_calendar", "doc.content_calendar"),),
        "specialist.content",
        _titles("Planificar el calendario de contenidos", "Plan the content calendar"),
        slots=("period", "channels"),
        run=content.plan_calendar,
    ),
    SkillSpec(
        "copy.draft",
        "specialist",
        (("brief", "doc.brief"),),
        (("copy", "doc.copy"),),
        "specialist.copy",
        _titles("Escribir los textos", "Write the copy"),
        slots=("product",),
        run=content.draft_copy,
    ),
    SkillSpec(
        "brand.check",
        "specialist",
        (("copy", "doc.copy+"),),
        (("brand_check", "doc.brand_check"),),
        "specialist.brand",
        _titles("Revisar los textos según la marca", "Check the copy against the brand"),
        run=content.check_brand,
    ),
    SkillSpec(
        "risk.list",
        "specialist",
        (("kpi_report", "kpi.report?"), ("kpi_segments", "kpi.segments?")),
        (("risks", "doc.risks"),),
        "specialist.risk",
        _titles("Listar riesgos y acciones", "List risks and actions"),
        run=knowledge.list_risks,
    ),
    SkillSpec(
        "faq.answer",
        "specialist",
        (("brief", "doc.brief"),),
        (("faq", "doc.faq"),),
        "specialist.support",
        _titles("Responder preguntas frecuentes", "Answer frequent questions"),
        run=knowledge.answer_faq,
    ),
    SkillSpec(
        "support.reply",
        "specialist",
        (("brief", "doc.brief"),),
        (("reply", "doc.reply"),),
        "specialist.support",
        _titles("Redactar una respuesta", "Draft a reply"),
        run=knowledge.reply_support,
    ),
    SkillSpec(
        "report.compose",
        "specialist",
        (
            ("kpi_report", "kpi.report"),
            ("kpi_segments", "kpi.segments?"),
            ("audience", "doc.audience?"),
            ("risks", "doc.risks?"),
            ("research", "doc.research?"),
        ),
        (("report", "doc.report"),),
        "specialist.analytics",
        _titles("Componer el informe", "Compose the report"),
        run=reports.compose_report,
    ),
)

_BY_NAME = {spec.name: spec for spec in _SPECIALISTS}
_PAID, _CONTENT, _SUPPORT = leaders.paid_media(_BY_NAME), leaders.content(_BY_NAME), leaders.support(_BY_NAME)

_LEADERS = (
    SkillSpec(
        "team.paid_media",
        "leader",
        (
            ("channels", "plan.channels"),
            ("kpi_report", "kpi.report"),
            ("kpi_segments", "kpi.segments"),
            ("paid_plan", "doc.paid_plan?"),
            ("brief", "doc.brief"),
        ),
        (("team_report", "doc.team_report"),),
        "leader.paid_media",
        _titles("Dirigir al equipo de medios de pago", "Lead the paid media team"),
        slots=("period",),
        expand=_PAID[0],
        report=_PAID[1],
    ),
    SkillSpec(
        "team.support",
        "leader",
        (("kpi_segments", "kpi.segments"), ("kpi_report", "kpi.report"), ("brief", "doc.brief")),
        (("team_report", "doc.team_report"),),
        "leader.support",
        _titles("Dirigir al equipo de atención", "Lead the support team"),
        slots=("period",),
        expand=_SUPPORT[0],
        report=_SUPPORT[1],
    ),
    SkillSpec(
        "team.content",
        "leader",
        (("brief", "doc.brief"), ("content_calendar", "doc.content_calendar?"), ("kpi_report", "kpi.report?")),
        (("team_report", "doc.team_report"),),
        "leader.content",
        _titles("Dirigir al equipo de contenidos", "Lead the content team"),
        slots=("period",),
        expand=_CONTENT[0],
        report=_CONTENT[1],
    ),
)

#: Every skill. Drafting tries them in this order, after the leaders that the profile puts first.
SPECS: tuple[SkillSpec, ...] = (*_SPECIALISTS, *_LEADERS)
BY_NAME: dict[str, SkillSpec] = {spec.name: spec for spec in SPECS}


def tools_of(task: Task) -> tuple[str, ...]:
    """Returns the tools that a task calls: its own, or those of its skill."""
    if task.kind == "tool":
        return (task.skill,)
    spec = BY_NAME.get(task.skill)
    return spec.tools if spec is not None else ()
