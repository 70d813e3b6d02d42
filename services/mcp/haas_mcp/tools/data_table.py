"""`data.table`: a pass over an uploaded table inside the sandbox."""

import asyncio
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from haas_common import tables
from haas_common.blobs import Blobs
from haas_common.errors import PayloadTooLarge, TableRowsBroken, ToolArgumentsInvalid, ToolFailed, ToolTimeout
from haas_mcp.domain import Grant
from haas_mcp.sandbox import Limits, Program, ProgramFailed, ProgramTimeout, Sandbox

LOG = logging.getLogger(__name__)
TOOL = "data.table"
_LIMITS = Limits(wall_s=18.0, cpu_s=15)


class DataTable:
    """Runs the table program on the bytes of an input."""

    def __init__(self, sandbox: Sandbox, blobs: Blobs) -> None:
        self._sandbox = sandbox
        self._blobs = blobs
        source = Path(__file__).with_name("table_program.py").read_text()
        self._program = Program(source, {"haas_common.tables": Path(tables.__file__).read_text()})

    async def run(self, grant: Grant, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answers the queries.

        Raises:
            TableRowsBroken: rows are broken and the call is not lenient.
            ToolArgumentsInvalid: a query asks for what the table does not have.
            ToolFailed, ToolTimeout, SandboxUnavailable, PayloadTooLarge, ResourceNotFound.
        """
        scope = grant.invocation.scope
        if await asyncio.to_thread(self._blobs.size, scope, arguments["ref"]) > tables.BYTES_MAX:
            raise PayloadTooLarge("A table has at most 8 MiB.", bytes_max=tables.BYTES_MAX)
        content = await asyncio.to_thread(self._blobs.read, scope, arguments["ref"])
        request = json.dumps({name: value for name, value in arguments.items() if name != "ref"}).encode()
        try:
            output = await self._sandbox.run(self._program, b"%d\n%b%b" % (len(request), request, content), _LIMITS)
        except ProgramTimeout as late:
            raise ToolTimeout(f"{TOOL} did not end in time.", tool=TOOL, limit_s=late.limit_s) from late
        except ProgramFailed as failed:
            LOG.warning("the table program failed: %s", failed.detail[-2000:], extra={"cause": failed.cause})
            raise ToolFailed(f"{TOOL} failed ({failed.cause}).", tool=TOOL, cause=failed.cause) from failed
        result = json.loads(output.stdout)
        if "error" in result:
            raise _refusal(result["error"])
        return result


def _refusal(error: Mapping[str, Any]) -> Exception:
    """What the program found wrong with the table or the query, as the error of that name."""
    if error["kind"] == "rows":
        rows = ",".join(map(str, error["rows"]))
        sentence = f"{error['broken_rows']} rows of the table are broken: {rows}."
        return TableRowsBroken(sentence, rows=rows, broken_rows=error["broken_rows"])
    if error["kind"] == "query":
        field, rule = error["field"], error["rule"]
        return ToolArgumentsInvalid(f"{field}: {rule}.", tool=TOOL, field=field, rule=rule)
    return ToolFailed(error["message"], tool=TOOL, cause=error["rule"])
