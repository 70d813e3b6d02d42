"""Every tool of this service, as data, and the check of arguments and results against their schemas."""

import json
from collections.abc import Mapping
from typing import Any

import jsonschema_rs

from haas_common.errors import InternalError, ToolArgumentsInvalid, ToolUnknown
from haas_mcp.domain import ToolSpec
from haas_mcp.tools import schemas

SPECS = (
    ToolSpec(
        "artifact.read",
        "Reads the newest version of an artifact, or any of the project's stored texts by its hash.",
        schemas.ARTIFACT_READ_INPUT,
        schemas.ARTIFACT_READ_OUTPUT,
        scopes=("artifacts.read",),
        timeout_s=10.0,
    ),
    ToolSpec(
        "artifact.write",
        "Writes the next version of a Markdown artifact: signed, and chained to the version before it.",
        schemas.ARTIFACT_WRITE_INPUT,
        schemas.ARTIFACT_WRITE_OUTPUT,
        scopes=("artifacts.write",),
        timeout_s=10.0,
        transactional=True,
    ),
    ToolSpec(
        "data.table",
        "Describes a CSV or JSON table and aggregates it exactly (count, sum, mean, min, max by group).",
        schemas.TABLE_INPUT,
        schemas.TABLE_OUTPUT,
        timeout_s=20.0,
    ),
    ToolSpec(
        "mcp.http",
        "Calls a web API on a host that the profile allows. Follows no redirects; cuts the answer at 256 KiB.",
        schemas.HTTP_INPUT,
        schemas.HTTP_OUTPUT,
        timeout_s=20.0,
        idempotent=False,
    ),
)


class Registry:
    """The tools by name, with compiled schemas."""

    def __init__(self, specs: tuple[ToolSpec, ...] = SPECS) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self._inputs = {spec.name: _compiled(spec.input_schema) for spec in specs}
        self._outputs = {spec.name: _compiled(spec.output_schema) for spec in specs}

    def spec(self, tool: str) -> ToolSpec:
        """Returns a tool's specification. Raises ToolUnknown."""
        if tool not in self._specs:
            raise ToolUnknown(f"There is no tool {tool}.", tool=tool)
        return self._specs[tool]

    def names(self) -> list[str]:
        """Returns every tool's name, in order."""
        return sorted(self._specs)

    def check_arguments(self, tool: str, arguments: Mapping[str, Any]) -> None:
        """Raises ToolArgumentsInvalid with the first field that breaks a rule; never with its value."""
        for error in self._inputs[tool].iter_errors(arguments):
            field = ".".join(map(str, error.instance_path)) or "arguments"
            rule = str(error.schema_path[-1])
            raise ToolArgumentsInvalid(f"{field} breaks the rule {rule} of {tool}.", tool=tool, field=field, rule=rule)

    def check_result(self, tool: str, result: Mapping[str, Any]) -> None:
        """Raises InternalError where a tool of ours broke its own contract."""
        for error in self._outputs[tool].iter_errors(result):
            place = "/".join(map(str, error.instance_path))
            raise InternalError from ValueError(f"{tool} answered outside its schema at {place}: {error.schema_path}")


def _compiled(schema: Mapping[str, Any]) -> jsonschema_rs.Draft202012Validator:
    # A copy by JSON: the validator must not share objects that someone could change.
    return jsonschema_rs.Draft202012Validator(json.loads(json.dumps(schema)))
