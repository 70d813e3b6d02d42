"""The gateway service: `python -m haas_gateway`."""

import sys

from haas_common.server import run
from haas_gateway.server import main

sys.exit(run("gateway", main))
