"""schema.sql is the truth; the migrations lead exactly there."""

from importlib.resources import files

import psycopg
import pytest

from haas_common.db.migrate import migrate
from haas_common.sockets import short_url
from tests.integration.conftest import TestDatabase, copied
from tests.support import embedded

_IN_HAAS = "JOIN pg_namespace n ON n.oid = {0}namespace AND n.nspname = 'haas'"
#: Everything that makes two catalogues the same: a query per kind, each row one text.
FACTS = {
    "schema": "SELECT format('%s %s', nspowner::regrole, nspacl) FROM pg_namespace WHERE nspname = 'haas'",
    "relations": f"""
        SELECT format('%s %s %s rls=%s force=%s %s %s', relkind, relname, relowner::regrole, relrowsecurity,
                      relforcerowsecurity, relacl, reloptions)
          FROM pg_class c {_IN_HAAS.format("c.rel")}""",
    "columns": f"""
        SELECT format('%s.%s #%s %s null=%s %s identity=%s %s', c.relname, a.attname, a.attnum,
                      format_type(a.atttypid, a.atttypmod), NOT a.attnotnull, pg_get_expr(d.adbin, d.adrelid),
                      a.attidentity, a.attacl)
          FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid {_IN_HAAS.format("c.rel")}
          LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
         WHERE a.attnum > 0 AND NOT a.attisdropped""",
    "constraints": f"""
        SELECT format('%s %s %s valid=%s', coalesce(conrelid::regclass::text, contypid::regtype::text), conname,
                      pg_get_constraintdef(k.oid), convalidated)
          FROM pg_constraint k {_IN_HAAS.format("k.con")}""",
    "indexes": f"""
        SELECT pg_get_indexdef(c.oid) FROM pg_class c {_IN_HAAS.format("c.rel")} WHERE c.relkind IN ('i', 'I')""",
    "policies": """
        SELECT format('%s %s %s %s %s using(%s) check(%s)', tablename, policyname, permissive, roles, cmd, qual,
                      with_check)
          FROM pg_policies WHERE schemaname = 'haas'""",
    "functions": f"""
        SELECT format('%s(%s) %s %s %s definer=%s leakproof=%s %s %s %s %s', proname,
                      pg_get_function_identity_arguments(p.oid), pg_get_function_result(p.oid), prokind,
                      proowner::regrole, prosecdef, proleakproof, provolatile,
                      proconfig, proacl, prosrc)
          FROM pg_proc p {_IN_HAAS.format("p.pro")}""",
    "types": f"""
        SELECT format('%s %s %s %s %s', typname, typtype, typowner::regrole, typacl, typbasetype::regtype)
          FROM pg_type t {_IN_HAAS.format("t.typ")}""",
    "triggers": f"""
        SELECT pg_get_triggerdef(g.oid)
          FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid {_IN_HAAS.format("c.rel")}
         WHERE NOT g.tgisinternal""",
    "defaults for new objects": "SELECT format('%s %s', defaclobjtype, defaclacl) FROM pg_default_acl",
    "leases": "SELECT name FROM haas.leases",
}


def catalogue_of(url: str) -> dict[str, list[str]]:
    with psycopg.connect(short_url(url), autocommit=True) as connection:
        return {kind: sorted(str(row[0]) for row in connection.execute(q.encode())) for kind, q in FACTS.items()}


@pytest.fixture
def from_schema(servers: embedded.Servers, database: TestDatabase) -> TestDatabase:
    """The same database, emptied and made anew from schema.sql; the roles are the server's."""
    with psycopg.connect(short_url(database.admin_dsn), autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute("DROP SCHEMA haas CASCADE")
        connection.execute(f"GRANT CREATE ON DATABASE {name} TO haas_owner, haas_writer".encode())
        text = files("haas_common.db").joinpath("schema.sql").read_text()
        with connection.transaction():
            connection.execute(text.encode())
    return database


def test_the_migrations_lead_to_the_schema(servers: embedded.Servers, template: str, from_schema: TestDatabase) -> None:
    with copied(servers, template) as migrated:
        expected, found = catalogue_of(from_schema.admin_dsn), catalogue_of(migrated.admin_dsn)
    assert all(found[kind] for kind in ("relations", "columns", "constraints", "indexes", "policies", "functions"))
    for kind, facts in expected.items():
        assert found[kind] == facts, kind


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("columns", "ALTER TABLE haas.plans ADD COLUMN extra text"),
        ("indexes", "DROP INDEX haas.events_c0_p0_by_plan"),
        ("policies", "DROP POLICY one_scope ON haas.plans"),
        ("constraints", "ALTER TABLE haas.tasks_read DROP CONSTRAINT tasks_read_status_check"),
        ("relations", "GRANT DELETE ON haas.plans TO haas_app"),
        ("relations", "ALTER TABLE haas.plans NO FORCE ROW LEVEL SECURITY"),
        ("relations", "ALTER TABLE haas.leases OWNER TO haas_writer"),
        ("functions", "ALTER FUNCTION haas.chain_link(bytea, bytea, bytea) VOLATILE"),
    ],
)
def test_the_comparison_sees_a_change(database: TestDatabase, kind: str, change: str) -> None:
    before = catalogue_of(database.admin_dsn)
    with psycopg.connect(short_url(database.admin_dsn), autocommit=True) as connection:
        connection.execute(change.encode())
    assert catalogue_of(database.admin_dsn)[kind] != before[kind]


def test_migrating_again_applies_nothing(database: TestDatabase) -> None:
    assert migrate(database.admin_dsn, "only-in-tests", database.context_key) == []
