"""Every named query is planned against the migrated database, as the services' own role, and by an index."""

import json
import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from haas_common.db import Query, load_queries
from haas_common.sockets import short_url
from tests.integration.conftest import copied
from tests.support import catalogue, embedded

PACKAGES = ("haas_common", "haas_gateway", "haas_mcp", "haas_notifier", "haas_orchestrator", "haas_planner")
#: Tables that grow with use: reading one whole is never right.
GROWING = {
    "artifacts_read",
    "events",
    "inputs",
    "notifications",
    "plan_commands",
    "plans",
    "requests",
    "task_edges",
    "tasks_read",
}
ROLES = {"haas_gateway.add_usage": "haas_projector"}
_RANGE = re.compile(r"events_c\d+_p\d+")
_PARAMETER = re.compile(r"%\((\w+)\)s|%%")


def named_queries() -> list[tuple[str, Query]]:
    return [(f"{p}.{name}", query) for p in PACKAGES for name, query in load_queries(p).by_name.items()]


def numbered(sql: str) -> str:
    """The statement with $1, $2, … in the place of its named parameters."""
    numbers: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        return "%" if match[1] is None else f"${numbers.setdefault(match[1], len(numbers) + 1)}"

    return _PARAMETER.sub(number, sql)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def parent_of(relation: str) -> str:
    """The table that a range of the history belongs to; any other is its own."""
    return _RANGE.sub("events", relation)


@pytest.fixture(scope="module")
def plans(servers: embedded.Servers, template: str) -> Iterator[dict[str, dict[str, Any] | str]]:
    """The generic plan of every query on filled tables, or what the server said instead."""
    with copied(servers, template) as database:
        with psycopg.connect(short_url(database.admin_dsn), autocommit=True) as admin:
            for table in sorted(GROWING):
                catalogue.fill(admin, table, "'t-' || g % 100", "'p-one'", 4000)
            admin.execute("ANALYZE")
        found: dict[str, dict[str, Any] | str] = {}
        with psycopg.connect(
            short_url(database.admin_dsn), autocommit=True, options="-c search_path=haas,public"
        ) as connection:
            connection.execute("SET enable_seqscan = off")
            for name, query in named_queries():
                # What one role alone may write is planned as that role.
                connection.execute(f"SET ROLE {ROLES.get(name, 'haas_app')}".encode())
                try:
                    statement = f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {numbered(query.sql)}"
                    row = connection.execute(statement.encode()).fetchone()
                    assert row is not None
                    found[name] = row[0][0]["Plan"]
                except psycopg.Error as error:
                    found[name] = str(error)
        yield found


@pytest.mark.parametrize("name", [name for name, _ in named_queries()])
def test_every_named_query_is_planned(plans: dict[str, Any], name: str) -> None:
    assert isinstance(plans[name], dict), plans[name]


@pytest.mark.parametrize("name", [name for name, _ in named_queries()])
def test_no_named_query_reads_a_growing_table_whole(plans: dict[str, Any], name: str) -> None:
    whole = [
        node["Relation Name"]
        for node in nodes(plans[name])
        if parent_of(node.get("Relation Name", "")) in GROWING
        and node["Node Type"] in {"Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan"}
        and "Index Cond" not in json.dumps(node)
    ]
    assert whole == []
