"""`python -m haas_mcp.projection locks` rebuilds resource_locks; the fold is that of haas_common.locks."""

import sys
from collections.abc import Callable

from haas_common.projections import Projection, step
from haas_common.projections.locks import projection

PROJECTIONS: dict[str, Callable[[], Projection]] = {"locks": projection}

if __name__ == "__main__":
    sys.exit(step.main(PROJECTIONS, sys.argv[1:]))
