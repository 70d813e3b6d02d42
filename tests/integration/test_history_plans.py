"""What an append, a page, a fold and a status cost does not grow with the history: a probe a range, never a scan."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from haas_common.db import load_queries
from haas_common.sockets import short_url
from tests.integration.conftest import TestDatabase, copied
from tests.integration.test_queries import nodes, numbered, parent_of
from tests.support import catalogue, embedded

RANGES = 40
#: What is asked all the time, by package.
HOT = {
    "haas_notifier": ("head", "events_page", "plan_events_page", "sent_page", "plan_facts"),
    "haas_planner": ("plan_events",),
    "haas_orchestrator": ("planned_tasks", "plan_inputs", "audit_checkpoints", "audit_dropped", "audit_events"),
    "haas_common": ("artifact_versions", "artifact_version", "artifact_moves", "first_seq", "relay_page", "relay_lag"),
}
NAMES = [f"{package}.{name}" for package, names in HOT.items() for name in names]
#: How haas.append finds where a batch goes; its own text is in the schema.
BESIDE = {
    "project_heads": "SELECT last_seq, streams, cell FROM haas.project_heads WHERE tenant_id = $1 AND project_id = $2",
    "stream_heads": "SELECT version, hash, ordinal FROM haas.stream_heads"
    " WHERE tenant_id = $1 AND project_id = $2 AND stream = $3",
}


@pytest.fixture(scope="module")
def long_history(servers: embedded.Servers, template: str) -> Iterator[psycopg.Connection]:
    """A history of 40 ranges with events in each, which nobody has ever analysed."""
    with copied(servers, template) as database, admin_of(database) as admin:
        for n in range(RANGES):
            admin.execute("SELECT setval('haas.events_id_seq', %s)", (n * 5_000_000 + 1,))
            admin.execute("SELECT haas.keep_partitions()")
            catalogue.fill(admin, "events", "'t-' || g % 10", "'p-one'", 500, first=1 + n * 500)
        for table in BESIDE:
            catalogue.fill(admin, table, "'t-' || g % 10", "'p-' || g", 500)
        admin.execute("ANALYZE haas.project_heads, haas.stream_heads")
        yield admin


def admin_of(database: TestDatabase) -> psycopg.Connection:
    return psycopg.connect(short_url(database.admin_dsn), autocommit=True, options="-c search_path=haas,public")


def generic_plan(admin: psycopg.Connection, statement: str) -> dict[str, Any]:
    row = admin.execute(f"EXPLAIN (GENERIC_PLAN, SUMMARY, FORMAT JSON) {statement}".encode()).fetchone()
    assert row is not None
    return row[0][0]


@pytest.mark.parametrize("name", NAMES)
def test_a_query_asks_each_range_once_by_an_index(long_history: psycopg.Connection, name: str) -> None:
    package, _, query = name.rpartition(".")
    plan = generic_plan(long_history, numbered(load_queries(package).by_name[query].sql))
    asked: dict[str, int] = {}
    for node in nodes(plan["Plan"]):
        relation = node.get("Relation Name", "")
        if relation and parent_of(relation) == "events":
            asked[relation] = asked.get(relation, 0) + 1
            assert node["Node Type"] in ("Index Scan", "Index Only Scan", "Bitmap Heap Scan"), node
            assert "Index Cond" in json.dumps(node), node
    assert len(asked) == RANGES + 1
    assert set(asked.values()) == {1}, asked


@pytest.mark.parametrize("table", sorted(BESIDE))
def test_an_append_finds_its_place_without_a_look_at_the_events(long_history: psycopg.Connection, table: str) -> None:
    plan = generic_plan(long_history, BESIDE[table])
    assert [node["Node Type"] for node in nodes(plan["Plan"]) if "Relation Name" in node] == ["Index Scan"]


def test_an_append_reads_no_event(long_history: psycopg.Connection) -> None:
    row = long_history.execute("SELECT prosrc FROM pg_proc WHERE proname = 'append'").fetchone()
    assert row is not None
    assert "haas.events" in row[0]
    assert [line.strip() for line in row[0].splitlines() if "haas.events" in line and "INSERT INTO" not in line] == []
    assert "FROM haas.events" not in row[0]


def test_a_page_of_40_ranges_touches_a_few_pages_of_each(long_history: psycopg.Connection) -> None:
    statement = numbered(load_queries("haas_notifier").by_name["events_page"].sql)
    long_history.execute(f"PREPARE page (text, text, bigint, bigint, bigint) AS {statement}".encode())
    long_history.execute("SET plan_cache_mode = force_generic_plan")
    row = long_history.execute(
        "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE page ('t-3', 'p-one', 17000, 50, 1000000)"
    ).fetchone()
    assert row is not None
    plan = row[0][0]["Plan"]
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 10 * RANGES
