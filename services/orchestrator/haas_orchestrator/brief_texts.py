"""The brief's fixed texts, Spanish and English, and the words by which an objective names artifacts. Pure."""

import re
from collections.abc import Mapping, Sequence

from haas_common.formats import money, number, period_text

TEXTS = {
    "es": {
        "title": "Brief",
        "objective": "Objetivo",
        "scope": "Alcance",
        "inputs": "Entradas requeridas",
        "artifacts": "Artefactos a generar",
        "criteria": "Criterios de aceptación",
        "provenance": "Procedencia",
        "measured_by": "Se dará por cumplido si: {}.",
        "no_target": "El objetivo no fija ninguna cifra; el plan medirá el punto de partida con los datos disponibles.",
        "quote": "Según los documentos: «{}» ({})",
        "brand": "{}: {}",
        "brand_audience": "Público de la marca",
        "brand_voice": "Voz de la marca",
        "no_scope": "El objetivo no acota periodo, presupuesto, canales ni público.",
        "criterion_artifacts": "Se entregan {}",
        "criterion_sources": "Cada artefacto cita sus fuentes y toda cifra procede de un cálculo sobre los datos",
        "input_absent": "{} ({}): no entregada",
        "no_inputs": "Ninguna: el plan trabaja con el brief y los documentos del proyecto",
        "none": "Ninguno",
        "no_model": (
            "Sin modelo: escrito por el motor sin conexión a partir del objetivo, el perfil y los documentos propios."
        ),
        "model": "Redactado con el modelo {} a partir del objetivo, el perfil y los documentos propios.",
        "sources": "Fuentes:",
        "no_sources": "Solo el objetivo",
    },
    "en": {
        "title": "Brief",
        "objective": "Objective",
        "scope": "Scope",
        "inputs": "Inputs required",
        "artifacts": "Artifacts to produce",
        "criteria": "Acceptance criteria",
        "provenance": "Provenance",
        "measured_by": "It counts as met if: {}.",
        "no_target": "The objective sets no figure; the plan measures where things stand from the data that is there.",
        "quote": "By the documents: “{}” ({})",
        "brand": "{}: {}",
        "brand_audience": "The brand's audience",
        "brand_voice": "The brand's voice",
        "no_scope": "The objective bounds no period, budget, channels or audience.",
        "criterion_artifacts": "Delivered: {}",
        "criterion_sources": "Every artifact cites its sources, and every figure comes from a computation on the data",
        "input_absent": "{} ({}): not given",
        "no_inputs": "None: the plan works from the brief and the project's documents",
        "none": "None",
        "no_model": (
            "No model wrote this: the offline engine did, from the objective, the profile and the project's documents."
        ),
        "model": "Worded by the model {} from the objective, the profile and the project's documents.",
        "sources": "Sources:",
        "no_sources": "Only the objective",
    },
}
_SLOT_NAMES = {
    "es": {
        "period": "Periodo",
        "budget": "Presupuesto",
        "channels": "Canales",
        "audience": "Público",
        "product": "Producto",
        "target_leads": "Meta de leads",
        "target_conversions": "Meta de conversiones",
        "target_revenue": "Meta de ingresos",
        "target_impressions": "Meta de impresiones",
        "target_clicks": "Meta de clics",
    },
    "en": {
        "period": "Period",
        "budget": "Budget",
        "channels": "Channels",
        "audience": "Audience",
        "product": "Product",
        "target_leads": "Target of leads",
        "target_conversions": "Target of conversions",
        "target_revenue": "Target of revenue",
        "target_impressions": "Target of impressions",
        "target_clicks": "Target of clicks",
    },
}
_TARGETS = {
    "es": {"leads": "leads", "conversions": "conversiones", "impressions": "impresiones", "clicks": "clics"},
    "en": {"leads": "leads", "conversions": "conversions", "impressions": "impressions", "clicks": "clicks"},
}
#: Words by which an objective names what it wants, folded.
_GOALS = {
    "doc.content_calendar": (
        r"calendario(?: de contenidos?| editorial)?|content calendar|editorial calendar|plan de publicacion\w*"
    ),
    "doc.paid_plan": r"plan de (?:medios|pago|publicidad|paid)|paid (?:media )?plan|media plan|reparto del presupuesto",
    "doc.team_report": r"informe (?:del|de) equipo|team report",
    "doc.report": (
        r"informe de (?:resultados|rendimiento)|results report|performance report|"
        r"analisis de (?:los )?(?:resultados|datos)"
    ),
    "doc.faq": r"preguntas frecuentes|\bfaqs?\b|frequent(?:ly asked)? questions",
    "doc.reply": (
        r"respuesta a(?:l| la| un| una)? (?:cliente|paciente|consulta|ticket|queja)|"
        r"reply to (?:the|a) (?:customer|client|patient)"
    ),
    "doc.risks": r"(?:lista|listado|mapa|analisis) de riesgos|risk (?:list|register|analysis)|list of risks",
    "doc.audience": r"(?:descripcion|perfil|estudio) del? (?:publico|audiencia)|audience (?:profile|study|description)",
    "doc.copy": r"textos (?:publicitarios|para)|\bcopys?\b|anuncios de texto|ad copy|copywriting",
    "doc.brand_check": r"revision de marca|brand check|revisa\w* (?:el|los) textos?",
    "doc.research": r"citas de los documentos|quotes from (?:the|our) documents|que dicen (?:los|nuestros) documentos",
    "doc.data_profile": r"calidad de los datos|data quality|perfil(?:ado)? de (?:los )?datos|data profile",
    "kpi.segments": r"resultados por (?:segmento|canal|mes)|results by (?:segment|channel|month)|desglose",
}


def goal_words(flat: str) -> list[str]:
    """Returns the types that a folded text names, in the order of the text."""
    found = {kind: m.start() for kind, pattern in _GOALS.items() if (m := re.search(pattern, flat))}
    return sorted(found, key=lambda kind: found[kind])


def file_of(kind: str) -> str:
    """Returns the file that holds a value of a type: doc.paid_plan → paid_plan.md, kpi.report → kpi_report.md."""
    group, _, name = kind.partition(".")
    return f"{name if group in ('doc', 'plan') else kind.replace('.', '_')}.md"


def describe_slots(slots: Mapping[str, str], language: str) -> list[str]:
    """Writes the slots for people, a line each; the ones without a name of their own as they are."""
    lines = []
    for name, value in slots.items():
        if name == "budget_currency":
            continue
        label = _SLOT_NAMES[language].get(name, name)
        if name == "period":
            shown = f"{period_text(value, language)} ({value})"
        elif name == "budget":
            shown = _amount(value, language, slots.get("budget_currency", ""))
        elif name.startswith("target_") and re.fullmatch(r"\d+(\.\d+)?", value):
            shown = number(value, language, 2 if "." in value else 0)
        else:
            shown = value.replace(",", ", ") if name == "channels" else value
        lines.append(f"{label}: {shown}")
    return lines


def acceptance(slots: Mapping[str, str], goals: Sequence[str], language: str) -> list[str]:
    """Returns the measurable criteria: targets, budget and period as figures."""
    spanish, found = language == "es", []
    for role, word in _TARGETS[language].items():
        value = slots.get(f"target_{role}")
        if value:
            shown = number(value, language, 2 if "." in value else 0)
            found.append(f"al menos {shown} {word}" if spanish else f"at least {shown} {word}")
    if slots.get("target_revenue"):
        shown = _amount(slots["target_revenue"], language, slots.get("budget_currency", ""))
        found.append(f"ingresos de al menos {shown}" if spanish else f"revenue of at least {shown}")
    if slots.get("budget"):
        shown = _amount(slots["budget"], language, slots.get("budget_currency", ""))
        found.append(f"la inversión no supera {shown}" if spanish else f"spend stays within {shown}")
    if slots.get("period"):
        first, _, last = slots["period"].partition("..")
        found.append(f"todo queda entre {first} y {last}" if spanish else f"everything lies between {first} and {last}")
    return found


def _amount(value: str, language: str, currency: str) -> str:
    return money(value, language, currency) if re.fullmatch(r"\d+(\.\d+)?", value) else value
