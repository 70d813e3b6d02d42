"""A rebuild as a process of its own: `python -m haas_<owner>.projection NAME [--shadow] [--rate N]`.

Reads HAAS_ADMIN_DATABASE_URL and HAAS_DATA_KEY (the file of the fleet's data.key). Standard output is one JSON object a
line: progress, and at the end what was found. Exit status: 0 done, 1 failed, 5 refused, 7 the live table differed
(--shadow).
"""

import argparse
import asyncio
import json
import os
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from haas_common.errors import HaasError
from haas_common.key_ring import KeyRing
from haas_common.projections import Projection
from haas_common.projections.rebuild import Found, Rebuild, RebuildRunning, TablesBusy
from haas_common.projections.shadow import Unsupported

FAILED, REFUSED, DIFFERS = 1, 5, 7


def main(known: Mapping[str, Callable[[], Projection]], arguments: Sequence[str]) -> int:
    """Rebuilds one of an owner's projections; returns the exit status."""
    parser = argparse.ArgumentParser(description="Rebuilds a read model from the history.")
    parser.add_argument("name", choices=sorted(known))
    parser.add_argument("--shadow", action="store_true", help="compare only")
    parser.add_argument("--rate", type=int, default=0, help="events a second at most; 0: no limit")
    given = parser.parse_args(arguments)
    key = os.environ.get("HAAS_DATA_KEY", "")
    ring = KeyRing(pathlib.Path(key)) if key else None
    rebuild = Rebuild(known[given.name], os.environ["HAAS_ADMIN_DATABASE_URL"], ring, rate=given.rate, report=_print)
    try:
        found = asyncio.run(rebuild.run(swap=not given.shadow))
    except RebuildRunning as error:
        return _failed("REBUILD_RUNNING", str(error), REFUSED)
    except Unsupported as error:
        return _failed("REBUILD_UNSUPPORTED", str(error), REFUSED)
    except TablesBusy as error:
        return _failed("TABLES_BUSY", str(error), FAILED)
    except HaasError as error:
        return _failed(error.reason, str(error), FAILED)
    _print(_summary(found))
    return DIFFERS if given.shadow and found.differing else 0


def _summary(found: Found) -> dict[str, Any]:
    return {
        "state": "done",
        "events": found.events,
        "differing": found.differing,
        "differences": found.differences,
        "swapped": found.swapped,
    }


def _failed(reason: str, message: str, status: int) -> int:
    _print({"state": "failed", "reason": reason, "message": message})
    return status


def _print(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()
