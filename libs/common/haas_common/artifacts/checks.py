"""What a brief and a team report must hold (plan §17): front matter and sections, in Spanish or in English. Pure."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from haas_common import errors
from haas_common.artifacts.text import headings
from haas_common.documents import fold


@dataclasses.dataclass(frozen=True, slots=True)
class Template:
    """A kind of artifact: `fields` by name, each with its rule; `sections`, each by its names in both languages."""

    kind: str
    fields: Mapping[str, tuple[Callable[[Any], bool], str]]
    sections: tuple[tuple[str, ...], ...]


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(map(_text, value))


def _said(value: Any) -> bool:
    return isinstance(value, str)


def _figures(value: Any) -> bool:
    return isinstance(value, dict) and all(_text(name) and not isinstance(v, dict | list) for name, v in value.items())


TEMPLATES = {
    template.kind: template
    for template in (
        Template(
            "brief",
            {
                "owner_team": (_text, "a team's name"),
                "acceptance_criteria": (_texts, "a list of at least one text"),
            },
            (
                ("Objetivo", "Objective"),
                ("Alcance", "Scope"),
                ("Entradas requeridas", "Inputs required", "Required inputs"),
                ("Artefactos a generar", "Artifacts to produce", "Artifacts to generate"),
            ),
        ),
        Template(
            "team_report",
            {
                "team": (_text, "a team's name"),
                "period": (_said, "a text, empty where the data bounds none"),
                "kpis": (_figures, "a mapping of names to figures"),
            },
            (("Resumen", "Summary"), ("Riesgos/Acciones", "Riesgos y acciones", "Risks/Actions", "Risks and actions")),
        ),
    )
}


def template_of(artifact_type: str, path: str) -> Template | None:
    """Returns what an artifact must hold, by its front matter's `artifact_type` or by its file's name."""
    return TEMPLATES.get(artifact_type) or TEMPLATES.get(path.rpartition("/")[2].removesuffix(".md"))


def check(template: Template, front: Mapping[str, Any], body: str) -> None:
    """Checks an artifact against its template.

    Raises:
        ArtifactInvalid: names the first field or section that is missing or breaks its rule.
    """
    if front.get("artifact_type") != template.kind:
        raise _field("artifact_type", template.kind)
    for name, (holds, rule) in template.fields.items():
        if name not in front or not holds(front[name]):
            raise _field(name, rule)
    there = {_bare(heading) for heading in headings(body)}
    for names in template.sections:
        if not there & {fold(name) for name in names}:
            sentence = f"{template.kind}: the section “{names[0]}” (or {', '.join(names[1:])}) is missing."
            raise errors.ArtifactInvalid(sentence, section=names[0], rule="required")


def _field(name: str, rule: str) -> errors.ArtifactInvalid:
    return errors.ArtifactInvalid(f"{name}: {rule}.", field=name, rule=rule)


def _bare(heading: str) -> str:
    return fold(" ".join(heading.lstrip("#").split()).rstrip(" #:"))
