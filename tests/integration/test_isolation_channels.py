"""No way around: injected statements, dirty connections, and what can be heard of others without reading a row."""

import re
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from haas_common.db import Database, Query, Scope
from haas_common.db.translate import translate
from haas_common.errors import HaasError
from haas_common.sockets import short_url
from tests.house.tree import shipped
from tests.integration.conftest import TestDatabase, copied
from tests.support import attacks, catalogue, embedded, intruder
from tests.support.intruder import FOREIGN, MINE, NOBODYS, NUMBERS, THEIRS

#: What ends up between the quotes of `… WHERE plan_id = '…'`. FORGED is a context for THEIRS under a made-up signature.
PAYLOADS = {
    "a condition": "' OR true --",
    "a union": "' UNION SELECT p::text FROM haas.plans AS p --",
    "a union of the events": "' UNION SELECT e::text FROM haas.events AS e --",
    "a union of the tenants": "' UNION SELECT t::text FROM haas.tenants AS t --",
    "a union of the key": "' UNION SELECT k::text FROM haas.context_keys AS k --",
    "a forged context": "' UNION SELECT set_config('haas.ctx', '{FORGED}', true)"
    " UNION SELECT p::text FROM haas.plans AS p --",
    "a forged context before the rows": "' UNION SELECT p::text FROM (SELECT set_config('haas.ctx', '{FORGED}', true)"
    " OFFSET 0) AS c, haas.plans AS p --",
    "a widened context": "' UNION SELECT p::text FROM (SELECT set_config('haas.ctx',"
    " current_setting('haas.ctx') || '|t-two/p-two', true) OFFSET 0) AS c, haas.plans AS p --",
    "a context that stays": "' UNION SELECT set_config('haas.ctx', current_setting('haas.ctx'), false) --",
    "no context": "' UNION SELECT set_config('haas.ctx', '', true) UNION SELECT p::text FROM haas.plans AS p --",
    "row security off": "' UNION SELECT set_config('row_security', 'off', true) --",
    "the owner's role": "' UNION SELECT set_config('role', 'haas_owner', true) --",
    "a superuser's role": "' UNION SELECT set_config('role', 'postgres', true) --",
    "another session": "' UNION SELECT set_config('session_authorization', 'postgres', true) --",
    "replication": "' UNION SELECT set_config('session_replication_role', 'replica', true) --",
    "a file": "' UNION SELECT pg_read_file('/etc/passwd') --",
    "a folder": "' UNION SELECT pg_ls_dir('.') --",
    "a large object of a file": "' UNION SELECT lo_import('/etc/passwd')::text --",
    "a query's text": "' UNION SELECT query_to_xml('SELECT * FROM haas.plans', true, true, '')::text --",
    "a query's words": "' UNION SELECT word FROM ts_stat('SELECT to_tsvector(p::text) FROM haas.plans AS p') --",
    "an error's text": "' UNION SELECT (SELECT string_agg(p::text, '')::int FROM haas.plans AS p)::text --",
    "the statistics": "' UNION SELECT most_common_vals::text FROM pg_stats WHERE schemaname = 'haas' --",
    "what others are asking": "' UNION SELECT query FROM pg_stat_activity --",
    "an event of another": "' UNION SELECT seqs::text FROM haas.append('{EVENT}') --",
    "an event of another's project": "' UNION SELECT seqs::text FROM haas.append('{SIBLING}') --",
    "stacked: a row that is changed": "'; WITH w AS (UPDATE haas.plans SET failure = 'x' RETURNING *)"
    " SELECT w::text FROM w --",
    "stacked: the owner's role": "'; SET ROLE haas_owner; SELECT p::text FROM haas.plans AS p --",
    "stacked: a context": "'; SET haas.ctx = '{FORGED}'; SELECT p::text FROM haas.plans AS p --",
    "stacked: a program": "'; COPY haas.plans TO PROGRAM 'cat'; --",
    "stacked: a block": "'; DO $$ BEGIN UPDATE haas.plans SET failure = 'x'; END $$; --",
    "stacked: a cursor that stays": "'; DECLARE kept CURSOR WITH HOLD FOR SELECT p::text FROM haas.plans AS p; --",
    "stacked: a statement that stays": "'; PREPARE kept AS SELECT p::text FROM haas.plans AS p; --",
    "stacked: a table that stays": "'; CREATE TEMP TABLE kept AS SELECT p::text FROM haas.plans AS p; --",
    "stacked: out of the transaction": "'; COMMIT; SELECT p::text FROM haas.plans AS p; --",
    "stacked: no limit": "'; SET statement_timeout = 0; SET transaction_timeout = 0; --",
}


@pytest.fixture(scope="module")
def database(servers: embedded.Servers, template: str) -> Iterator[TestDatabase]:
    """One database for all of these tests, with rows of three scopes in every table, and its statistics."""
    with copied(servers, template) as found:
        with psycopg.connect(short_url(found.admin_dsn), autocommit=True) as admin:
            intruder.seed(admin)
            admin.execute("ANALYZE")
        yield found


@pytest.fixture
def admin(database: TestDatabase) -> Iterator[psycopg.Connection]:
    with psycopg.connect(short_url(database.admin_dsn), autocommit=True) as connection:
        yield connection


@pytest.fixture
async def doors(database: TestDatabase) -> AsyncIterator[Database]:
    """Doors over one connection, so that everybody borrows the same."""
    opened = await Database.open(short_url(database.app_dsn), database.context_key, "test", pool_max=1)
    yield opened
    await opened.close()


# ── Injection ───────────────────────────────────────────────────────────────────────────────────────────────────────


def event_of(scope: Scope) -> str:
    fields = [*str(scope).split("/"), "plan/pl-x", "", "PlanStarted", "1", "", "", "intruder", "", "", "", "{}"]
    return "\x1f".join(fields)


def injectable(payload: str) -> Query:
    """A query as nobody may write it: the text of a caller becomes a part of the statement."""
    forged = "0" * 64 + "|1|9999999999||t-two/p-two"
    filled = payload.replace("{FORGED}", forged).replace("{EVENT}", event_of(THEIRS))
    filled = filled.replace("{SIBLING}", event_of(intruder.SIBLING))
    return Query("injectable", "", f"SELECT plan_id FROM haas.plans WHERE plan_id = '{filled}")


@pytest.mark.parametrize("payload", PAYLOADS)
async def test_an_injected_text_reads_and_touches_nothing_of_others(
    doors: Database, admin: psycopg.Connection, payload: str
) -> None:
    before, shown = attacks.others_rows(admin), ""
    try:
        async with doors.tenant_tx(MINE) as tx:
            shown = str(await tx.all(injectable(PAYLOADS[payload])))
    except (psycopg.Error, HaasError) as error:
        shown = str(error)
        assert "stacked" not in payload or "multiple commands" in shown
    assert re.search("t-two/p-two", shown) is None or "set_config" in PAYLOADS[payload]
    assert re.search(r"t-two,|p-two,|p-sib|,v2,|root:", shown) is None
    assert attacks.others_rows(admin) == before
    # The same connection, for another tenant: nothing of the one before is left on it.
    async with doors.tenant_tx(THEIRS) as tx:
        assert [row["t"] for row in await tx.all(Query("own", "", "SELECT tenant_id::text AS t FROM plans"))] == [
            "t-two"
        ]
        for left in (
            "pg_cursors WHERE is_holdable",
            "pg_prepared_statements WHERE from_sql",
            "pg_tables WHERE schemaname ~ '^pg_temp'",
        ):
            assert await tx.all(Query("left", "", f"SELECT * FROM {left}")) == []


# ── Dirty connections ───────────────────────────────────────────────────────────────────────────────────────────────

#: What a connection may come back with, by whatever way.
DIRT = {
    "a setting": "SET search_path = public, haas",
    "a context for good": "SELECT set_config('haas.ctx', current_setting('haas.ctx'), false)",
    "a cursor that stays": "DECLARE kept CURSOR WITH HOLD FOR SELECT 'x'",
    "an advisory lock": "SELECT pg_advisory_lock(42)",
    "a channel": "LISTEN others",
    "an aborted transaction": "SELECT 1 / 0",
    "no transaction": "COMMIT",
}


@pytest.mark.parametrize("dirt", DIRT)
async def test_the_next_to_borrow_a_dirty_connection_sees_its_own_and_nothing_else(doors: Database, dirt: str) -> None:
    try:
        async with doors.tenant_tx(MINE) as tx:
            await tx._connection.execute(DIRT[dirt].encode())
    except (psycopg.Error, HaasError):
        assert dirt == "an aborted transaction"
    async with doors.tenant_tx(THEIRS) as tx:
        for name in ("plans", "events", "requests"):
            rows = await tx.all(Query("own", "", f"SELECT tenant_id::text AS t FROM haas.{name}"))
            assert [row["t"] for row in rows] == ["t-two"]


async def test_between_transactions_a_dirty_connection_reads_nothing(doors: Database, database: TestDatabase) -> None:
    """A context that was set for the session is for this connection and a short while, and of its own tenant."""
    async with doors.tenant_tx(MINE) as tx:
        await tx._connection.execute("SELECT set_config('haas.ctx', current_setting('haas.ctx'), false)")
        stolen = (await tx.one(Query("ctx", "", "SELECT current_setting('haas.ctx') AS c")))["c"]
    async with await psycopg.AsyncConnection.connect(short_url(database.app_dsn)) as other:
        await other.execute("SELECT set_config('haas.ctx', %s, false)", (stolen,))
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification, match="another connection"):
            await other.execute("SELECT * FROM haas.plans")


async def test_a_door_that_set_its_context_for_the_session_would_be_found(
    doors: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mistake of code that no catalogue shows: between two transactions, a connection of the pool reads nothing."""
    send = psycopg.AsyncConnection.execute

    async def session_wide(self: psycopg.AsyncConnection, query: bytes, *rest: object, **named: object) -> object:
        wide = query.replace(b"true)", b"false)") if b"set_config" in query else query
        return await send(self, wide, *rest, **named)

    async def between() -> list[object]:
        async with doors.tenant_tx(MINE):
            pass
        async with doors._pool.connection() as connection:
            return await (await send(connection, "SELECT * FROM haas.plans")).fetchall()

    with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
        await between()
    monkeypatch.setattr(psycopg.AsyncConnection, "execute", session_wide)
    assert len(await between()) == 1


# ── What can be heard ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_key_that_others_have_is_taken_like_one_that_nobody_has(
    doors: Database, admin: psycopg.Connection
) -> None:
    """By inserts of one's own, in every table that the app may add to: no unique key and no foreign key tells."""
    outcomes: dict[str, list[str]] = {}
    for number in (NUMBERS[THEIRS], NUMBERS[intruder.SIBLING], NOBODYS):
        for table in catalogue.tenant_tables(admin):
            row = catalogue.insertion(admin, table, "'t-one'", "'p-one'", first=number).as_string(admin)
            row = row.replace("%", "%%")
            outcome = "taken"
            try:
                async with doors.tenant_tx(MINE) as tx:
                    await tx.run(Query("add", "", row))
                    await tx._connection.execute("ROLLBACK")
                    await tx._connection.execute("BEGIN")
            except (psycopg.Error, HaasError) as error:
                outcome = f"{type(error).__name__} {error}"
            outcomes.setdefault(table, []).append(re.sub(rf"\b(v?)({number})\b", r"\1N", outcome))
    assert {table for table, said in outcomes.items() if len(set(said)) != 1} == set()
    assert sum(said[0] == "taken" for said in outcomes.values()) >= 8


@pytest.mark.parametrize("scope", [THEIRS, intruder.SIBLING, Scope("t-nobody", "p-two")], ids=str)
async def test_a_refused_row_says_the_same_of_everybodys_keys(
    doors: Database, admin: psycopg.Connection, scope: Scope
) -> None:
    for table in catalogue.tenant_tables(admin):
        if (table, scope.tenant_id) == ("tenants", "t-one"):
            continue
        said = set()
        for number in (*NUMBERS.values(), NOBODYS):
            row = catalogue.insertion(admin, table, f"'{scope.tenant_id}'", f"'{scope.project_id}'", first=number)
            with pytest.raises(psycopg.errors.InsufficientPrivilege) as refused:
                async with doors.tenant_tx(MINE) as tx:
                    await tx.run(Query("add", "", row.as_string(admin).replace("%", "%%")))
            said.add(str(refused.value))
        assert len(said) == 1, table
        assert re.search(FOREIGN, said.pop()) is None


def test_what_a_caller_is_told_of_a_driver_error_has_no_value_in_it() -> None:
    """`translate` is the only way out (house/test_database.py); it takes names of tables, and no text of the driver."""
    raised = [psycopg.errors.UniqueViolation, psycopg.errors.ForeignKeyViolation, psycopg.errors.CheckViolation,
              psycopg.errors.NotNullViolation, psycopg.errors.InvalidTextRepresentation,
              psycopg.errors.QueryCanceled, psycopg.errors.DeadlockDetected, psycopg.OperationalError]  # fmt: skip
    for kind in raised:
        known = translate(kind("Key (tenant_id)=(t-two) already exists"))
        assert isinstance(known, HaasError) or kind is psycopg.errors.NotNullViolation
        if isinstance(known, HaasError):
            assert re.search(FOREIGN, f"{known.message} {known.metadata}") is None


async def test_statistics_and_running_statements_show_no_value_of_others(
    database: TestDatabase, doors: Database
) -> None:
    """Bound values are no part of a statement's text, and pg_stats hides what row security guards."""
    own = await Database.open(short_url(database.app_dsn), database.context_key, "theirs")
    async with own.tenant_tx(THEIRS) as theirs, doors.tenant_tx(MINE) as tx:
        secret = Query("secret", "", "SELECT plan_id FROM plans WHERE plan_id = %(plan_id)s")
        await theirs.all(secret, plan_id="a-secret-of-theirs")
        seen = await tx.all(Query("spy", "", "SELECT query FROM pg_stat_activity"))
        assert any("plan_id = $1" in str(row["query"]) for row in seen), "the statement itself is seen"
        assert re.search(f"a-secret-of-theirs|{FOREIGN}", str(seen)) is None
        for view in ("pg_stats", "pg_stats_ext", "pg_stats_ext_exprs"):
            shown = str(await tx.all(Query("spy", "", f"SELECT * FROM {view} WHERE schemaname = 'haas'")))
            assert re.search(FOREIGN, shown) is None
    await own.close()


#: Notices cross tenants and roles: a topic is a place to look at, or an id that nobody can guess.
TOPICS = re.compile(r'"events"|"slots"|TOPIC\w*|f"shard/\{shard\}"|f"reply/\{command\.plan_id\}"')


def test_a_wake_up_says_where_to_look_and_nothing_of_what_happened() -> None:
    """Everywhere that a bell is rung; the payload of a notice is its topic (haas_common.doorbell)."""
    rung = {found for source in shipped() for found in re.findall(r"doorbell\.ring\((.*)\)", source.text)}
    assert rung
    assert {topic for topic in rung if not TOPICS.fullmatch(topic)} == set()


async def test_a_statement_that_runs_out_of_time_says_nothing_of_what_it_met(doors: Database) -> None:
    slow = Query("slow", "", "SELECT pg_sleep(5) FROM plans")
    with pytest.raises(HaasError) as ended:
        async with doors.tenant_tx(MINE, timeout_s=0.1) as tx:
            await tx.all(slow)
    assert ended.value.reason == "DEADLINE_PASSED"
    assert re.search(FOREIGN, f"{ended.value.message} {ended.value.metadata}") is None
