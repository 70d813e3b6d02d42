"""Measures the peers alone: `python -m tests.load.engines`."""

from tests.load.dags import all_shapes
from tests.load.databases import database
from tests.load.engines import tables

if __name__ == "__main__":
    with database() as bench:
        print("\n\n".join(table.markdown() for table in tables(bench.admin_dsn, all_shapes())))
