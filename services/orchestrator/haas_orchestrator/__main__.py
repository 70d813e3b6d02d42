"""`python -m haas_orchestrator`."""

import sys

from haas_common.server import run
from haas_orchestrator.server import main

sys.exit(run("orchestrator", main))
