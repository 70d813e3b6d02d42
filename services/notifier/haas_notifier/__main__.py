"""`python -m haas_notifier`."""

import sys

from haas_common.server import run
from haas_notifier.server import main

if __name__ == "__main__":
    sys.exit(run("notifier", main))
