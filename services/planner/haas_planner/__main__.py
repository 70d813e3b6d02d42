"""`python -m haas_planner`."""

import sys

from haas_common.server import run
from haas_planner.server import main

sys.exit(run("planner", main))
