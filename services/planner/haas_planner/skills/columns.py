"""What a table's columns mean: roles found by name (Spanish and English), by type, and by the profile's hints. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from haas_common.documents import fold

METRICS = {
    "spend": "spend cost costs gasto gastos inversion coste costes costo costos importe_gastado amount_spent ad_spend "
    "media_spend media_cost presupuesto_gastado",
    "impressions": "impressions impresiones impr imps visualizaciones views vistas",
    "clicks": "clicks clics click link_clicks clics_enlace",
    "leads": "leads lead prospectos contactos_nuevos formularios form_submissions solicitudes consultas enquiries "
    "inquiries",
    "conversions": "conversions conversiones compras purchases orders pedidos ventas_cerradas reservas bookings altas "
    "signups sales_count unidades_vendidas",
    "revenue": "revenue ingresos facturacion ingreso ventas_importe sales_value conversion_value valor_conversion "
    "income turnover importe_ventas",
    "interactions": "interactions interacciones engagements engagement interacciones_totales",
    "saves": "saves guardados",
    "rating": "rating csat satisfaccion satisfaction valoracion puntuacion nps nota",
    "hours": "hours horas resolution_hours horas_resolucion hours_to_resolve resolution_time_hours tiempo_resolucion_h "
    "response_hours horas_respuesta",
}
DIMENSIONS = {
    "channel": "channel canal medium medio platform plataforma red source fuente origin origen contact contact_type "
    "tipo_contacto via canal_contacto",
    "month": "month mes",
    "previous_outcome": "poutcome previous_outcome resultado_previo resultado_anterior outcome_previous",
    "campaign": "campaign campana campaign_name nombre_campana",
    "segment": "segment segmento audience audiencia publico customer_type tipo_cliente",
    "category": "category categoria topic tema motivo reason asunto",
    "service": "service servicio product producto treatment tratamiento line linea",
    "format": "format formato type tipo content_type tipo_contenido",
    "pillar": "pillar pilar content_pillar pilar_contenido",
    "place": "clinic clinica center centro store tienda city ciudad region location sede",
    "priority": "priority prioridad",
}
DATE = (
    "date fecha day dia created_at creado fecha_creacion opened_at fecha_apertura published_at publicado "
    "appointment_date"
)
OUTCOME = (
    "y converted convertido convertida outcome resultado subscribed suscrito suscrita target success exito won ganado "
    "attended asistio asistencia resolved resuelto resuelta purchased compro booked reservo conversion converted_flag "
    "is_converted churned renewed renovado"
)
#: Words that say how a column is measured, not what: "total_spend_eur" is spend.
_UNITS = "eur euros usd gbp pen mxn total totals sum amount num number n of the de del la el en count value qty"
UNITS = frozenset(_UNITS.split())
_YES = "yes y si s true t 1 converted attended resolved won purchased booked convertido asistio resuelto ganado"
YES = frozenset(_YES.split())
_NO = "no n false f 0 not_converted missed unresolved lost no_asistio pendiente"
NO = frozenset(_NO.split())
GROUPS_MAX = 12


@dataclass(frozen=True, slots=True)
class Meaning:
    """What the columns of a table mean.

    Attributes:
        metrics: role → column, numbers only.
        dimensions: role → column to break down by; further low-cardinality columns appear under their own name.
        date: the column of dates, or "".
        outcome: the yes/no column that says whether a row ended well, or "".
        yes: the value that counts as yes.
        ambiguous: yes/no columns among which none stands out.
    """

    metrics: Mapping[str, str]
    dimensions: Mapping[str, str]
    date: str = ""
    outcome: str = ""
    yes: str = ""
    ambiguous: tuple[str, ...] = ()


def plain(name: str) -> str:
    """Returns a column's name folded, its words joined by "_"."""
    return "_".join(re.findall(r"[a-z0-9]+", fold(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name))))


def _bare(name: str) -> str:
    return "_".join(w for w in plain(name).split("_") if w not in UNITS)


def _named(columns: Sequence[dict], synonyms: str, taken: set[str]) -> str:
    """Returns the first column that a synonym names: exactly first, then without words of measure."""
    wanted = synonyms.split()
    for normal in (plain, _bare):
        for word in wanted:
            for column in columns:
                if column["name"] not in taken and normal(column["name"]) == word:
                    return column["name"]
    return ""


def understand(columns: Sequence[dict], hints: Mapping[str, str]) -> Meaning:
    """Finds the roles.

    Args:
        columns: as the tool `data.table` describes them.
        hints: the profile's role → column; "outcome_yes" names the value that counts as yes.
    """
    values = {c["name"]: _values(c) for c in columns if c["distinct"] <= 3}
    there = {c["name"]: c for c in columns}
    hinted = {role: name for role, name in hints.items() if name in there}
    taken = set(hinted.values())
    numeric = [c for c in columns if c["type"] == "number"]
    metrics = {}
    for role, synonyms in METRICS.items():
        found = hinted.get(role) or _named(numeric, synonyms, taken)
        if found and there[found]["type"] == "number":
            metrics[role] = found
            taken.add(found)
    dates = [c for c in columns if c["type"] == "date"]
    date = hinted.get("date") or _named(dates, DATE, taken) or (dates[0]["name"] if len(dates) == 1 else "")
    outcome, yes, ambiguous = _outcome(columns, values, hinted, hints.get("outcome_yes", ""), taken)
    taken |= {date, outcome}
    dimensions = {}
    grouped = [c for c in columns if c["type"] in ("text", "bool") and c["name"] not in taken]
    for role, synonyms in DIMENSIONS.items():
        found = hinted.get(role) or _named(grouped, synonyms, taken)
        if found:
            dimensions[role] = found
            taken.add(found)
    for column in grouped:
        if column["name"] not in taken and 2 <= column["distinct"] <= GROUPS_MAX:
            dimensions[column["name"]] = column["name"]
    return Meaning(metrics, dimensions, date, outcome, yes, ambiguous)


def _outcome(
    columns: Sequence[dict],
    values: Mapping[str, Sequence[str]],
    hinted: Mapping[str, str],
    hinted_yes: str,
    taken: set[str],
) -> tuple[str, str, tuple[str, ...]]:
    if "outcome" in hinted:
        column = hinted["outcome"]
        return column, hinted_yes or _yes(values.get(column, ())), ()
    answers = {
        c["name"]: _yes(values.get(c["name"], ())) for c in columns if c["name"] not in taken and c["name"] in values
    }
    answers = {name: yes for name, yes in answers.items() if yes}
    named = _named([c for c in columns if c["name"] in answers], OUTCOME, taken)
    if named:
        return named, answers[named], ()
    if len(answers) == 1:
        name, yes = next(iter(answers.items()))
        return name, yes, ()
    return "", "", tuple(answers)


def _values(column: dict) -> list[str]:
    """Returns the values of a column that has few: its examples are all of them, or for a bool one spelling of each."""
    shown = [str(v) for v in column["examples"]]
    if column["type"] != "bool":
        return shown
    return [next((v for v in shown if plain(v) in YES), "true"), next((v for v in shown if plain(v) in NO), "false")]


def _yes(values: Sequence[str]) -> str:
    """Returns the value that says yes where there is one and the others say no; "" otherwise."""
    filled = [str(v) for v in values if str(v).strip()]
    yes = [v for v in filled if plain(v) in YES]
    rest = [v for v in filled if plain(v) not in YES]
    return yes[0] if len(yes) == 1 and len(rest) == 1 and plain(rest[0]) in NO else ""
