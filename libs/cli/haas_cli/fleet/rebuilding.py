"""The read models, and the processes that rebuild them from the history (docs/howto/rebuild-projections.md)."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from haas_cli.errors import CliError, Exit, Refused
from haas_cli.fleet.home import Home


@dataclass(frozen=True, slots=True)
class ReadModel:
    """A read model, the module that folds it, and who keeps it up."""

    name: str
    tables: str
    module: str
    kept: str


_WRITERS = "in the append's transaction"
READ_MODELS = (
    ReadModel("plans", "plans, tasks_read, task_edges", "haas_planner.projection", _WRITERS),
    ReadModel("artifacts", "artifacts_read", "haas_orchestrator.projection", _WRITERS),
    ReadModel("locks", "resource_locks", "haas_mcp.projection", _WRITERS),
    ReadModel("notifications", "notifications", "haas_notifier.projection", _WRITERS),
    ReadModel("agents", "agents", "haas_planner.agents.projection", _WRITERS),
    ReadModel(
        "agent_results", "agent_results", "haas_planner.agents.projection", "by a projector that tails the history"
    ),
    ReadModel("usage", "usage", "haas_gateway.projection", "by a projector that tails the history"),
)


def rebuild(
    model: ReadModel,
    environment: Mapping[str, str],
    *,
    shadow: bool = False,
    rate: int = 0,
    show: Callable[[dict[str, Any]], None] = lambda line: None,
) -> tuple[int, dict[str, Any]]:
    """Rebuilds a read model; returns the exit status and what it came to.

    Args:
        model: Which.
        environment: See `environment_of`.
        shadow: Builds and compares only.
        rate: Events a second at most; 0 for no limit.
        show: Takes each line of progress.

    Raises:
        Refused: A rebuild of it is under way, or the administrator may not.
        CliError: It failed.
    """
    options = [*(["--shadow"] if shadow else []), "--rate", str(rate)]
    argv = [sys.executable, "-P", "-m", model.module, model.name, *options]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=dict(environment), text=True) as step:
        assert step.stdout is not None
        last: dict[str, Any] = {}
        for text in step.stdout:
            last = json.loads(text)
            show(last)
        status = step.wait()
    if last.get("state") == "failed":
        kind = Refused if status == Exit.REFUSED else CliError
        raise kind(last["message"], reason=last["reason"])
    if last.get("state") != "done":
        raise CliError(f"The rebuild of {model.name} ended in the middle; call it again and it goes on.")
    return status, last


def environment_of(home: Home) -> dict[str, str]:
    """What a rebuild may know: the administrator's way into the database, and the key of personal data.

    Raises:
        NotRunning: No fleet runs here.
    """
    from haas_cli.fleet.parts import embedded_postgres
    from haas_cli.fleet.state import read

    read(home)
    external = os.environ.get("HAAS_DATABASE_URL", "").strip()
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "PATH", "TZ") if name in os.environ}
    return {
        **kept,
        "HAAS_ADMIN_DATABASE_URL": external or embedded_postgres(home).dsn("haas"),
        "HAAS_DATA_KEY": str(home.secrets / "planner" / "data.key"),
        "PYTHONUNBUFFERED": "1",
    }
