"""The database is reached through two doors; everything else goes through them."""

import ast

from haas_common.db import load_queries
from haas_common.db.migrate import migrations
from tests.house.tree import SERVICES, shipped

#: Where connections are made and statements are sent: the doors, the migration, the catalogue's lint, the doorbell's
#: own connection (LISTEN and NOTIFY), the rebuild of a read model (whole tables, of all tenants, by the fleet's owner),
#: the operator's commands on ranges of the history, and the embedded fleet's creation of its database.
RAW_SQL = {
    "libs/common/haas_common/db/doors.py",
    "libs/common/haas_common/db/lint.py",
    "libs/common/haas_common/db/migrate.py",
    "libs/common/haas_common/doorbell.py",
    "libs/common/haas_common/history/partitions.py",
    "libs/common/haas_common/projections/log.py",
    "libs/common/haas_common/projections/rebuild.py",
    "libs/common/haas_common/projections/shadow.py",
    "libs/cli/haas_cli/fleet/importing.py",
    "libs/cli/haas_cli/fleet/prepare.py",
}
DRIVER = RAW_SQL | {"libs/common/haas_common/db/pool.py", "libs/common/haas_common/db/translate.py"}


def test_nothing_executes_sql_but_the_doors() -> None:
    senders = {
        source.path
        for source in shipped()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"execute", "executemany"}
    }
    assert senders == RAW_SQL, "the list names exactly who does"


def test_nothing_imports_the_driver_but_the_doors() -> None:
    importers = set()
    for source in shipped():
        for node in ast.walk(source.tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] in {"psycopg", "psycopg_pool"} for name in names):
                importers.add(source.path)
    assert importers <= DRIVER


def test_no_python_text_is_sql() -> None:
    """Statements live in sql/queries.sql, where they are planned by a test."""
    verbs = ("SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM ", "TRUNCATE ")
    found = [
        f"{source.path}:{node.lineno}"
        for source in shipped()
        if source.path not in RAW_SQL
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.lstrip().startswith(verbs)
    ]
    assert found == []


def test_every_named_query_is_used() -> None:
    code = "\n".join(source.text for source in shipped())
    unused = [
        f"{package}.{name}"
        for package in ("haas_common", *(f"haas_{service}" for service in SERVICES))
        for name in named_queries(package)
        if f".{name}," not in code and f".{name})" not in code and f".{name}\n" not in code
    ]
    assert unused == []


def named_queries(package: str) -> dict[str, object]:
    try:
        return dict(load_queries(package).by_name)
    except FileNotFoundError:
        return {}


def test_migrations_are_numbered_without_gaps() -> None:
    numbers = [int(name.split("_")[0]) for name, _ in migrations()]
    assert numbers == list(range(1, len(numbers) + 1))
