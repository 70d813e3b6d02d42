"""`python -m haas_orchestrator.projection artifacts` rebuilds artifacts_read; the fold is the artifact store's own."""

import sys
from collections.abc import Callable

from haas_common.projections import Projection, step
from haas_common.projections.artifacts import projection

PROJECTIONS: dict[str, Callable[[], Projection]] = {"artifacts": projection}

if __name__ == "__main__":
    sys.exit(step.main(PROJECTIONS, sys.argv[1:]))
