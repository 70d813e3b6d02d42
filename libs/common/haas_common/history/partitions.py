"""The ranges of the history as the database has them, and every statement that an operator's command runs on them.

Statements about partitions name tables, which no parameter can: they are put together here, and here alone, from names
that were read out of the catalogue. The connection is the superuser's: what it does concerns all tenants.
"""

import contextlib
import dataclasses
import datetime
import time
from collections.abc import Iterator
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from haas_common.audit.rows import line_of
from haas_common.db.doors import connection_parameters
from haas_common.history.refusals import DatabaseFailed, RangeInUse, RangeUnknown

#: As many ids a range has (haas.add_range).
IDS = 5_000_000
_LOCK = "haas.history"
_WRITERS_S = 30.0
_POLL_S = 0.05
_PAGE = 5000
#: Relays that every fleet has: one that never read has read nothing.
_RELAYS = ("notifier",)


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Range:
    """A range of a cell.

    Attributes:
        state: "attached", "detaching" (a detachment was cut short) or "detached" (a table of its own).
        events: an estimate, as the last ANALYZE left it; -1 for a table that had none.
    """

    cell: int
    number: int
    state: str = dataclasses.field(compare=False)
    events: int = dataclasses.field(compare=False)
    size_bytes: int = dataclasses.field(compare=False)

    @property
    def name(self) -> str:
        """Returns what it is called on the command line."""
        return f"c{self.cell}_p{self.number}"

    @property
    def table(self) -> str:
        """Returns its table."""
        return f"events_{self.name}"

    @property
    def ids(self) -> tuple[int, int]:
        """Returns its first id, and the one after its last."""
        return self.number * IDS, (self.number + 1) * IDS


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """What a range holds of a project."""

    tenant_id: str
    project_id: str
    first_seq: int
    last_seq: int
    events: int


class Partitions:
    """The superuser's connection."""

    def __init__(self, connection: psycopg.Connection[dict[str, Any]]) -> None:
        self._connection = connection

    @classmethod
    @contextlib.contextmanager
    def opened(cls, admin_url: str) -> Iterator["Partitions"]:
        """Opens a connection that is alone in what it does.

        Raises RangeInUse where another operator is at work, DatabaseFailed.
        """
        parameters = connection_parameters(admin_url, "haas-history")
        parameters["options"] = "-c search_path=haas,public -c lock_timeout=30s"
        try:
            with psycopg.connect(**parameters, autocommit=True, row_factory=dict_row) as connection:
                found = cls(connection)
                # It takes as long as it takes; the server's own limits are for services.
                found._run("SET transaction_timeout = 0")
                if not found._one("SELECT pg_try_advisory_lock(hashtext(%s)) AS taken", _LOCK)["taken"]:
                    raise RangeInUse("Another command is at work on the history: wait until it is through.")
                sees = "SELECT rolsuper OR rolbypassrls AS sees FROM pg_roles WHERE rolname = current_user"
                if not found._one(sees)["sees"]:
                    raise DatabaseFailed("HAAS_DATABASE_URL names a role that does not see past row security.")
                yield found
        except psycopg.Error as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise DatabaseFailed(f"The database did not do it: {first}") from error

    # ── What is there ────────────────────────────────────────────────────────────────────────────────────────────

    def ranges(self) -> list[Range]:
        """Returns every range, oldest first in its cell, detached ones included."""
        rows = self._all(
            "SELECT c.relname, c.reltuples::bigint AS events, pg_total_relation_size(c.oid) AS size_bytes,"
            "       CASE WHEN i.inhrelid IS NULL THEN 'detached' WHEN i.inhdetachpending THEN 'detaching'"
            "            ELSE 'attached' END AS state"
            "  FROM pg_class AS c LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid"
            " WHERE c.relnamespace = 'haas'::regnamespace AND c.relkind = 'r'"
            "   AND c.relname ~ '^events_c[0-9]+_p[0-9]+$'"
        )
        found = []
        for row in rows:
            cell, _, number = row["relname"].removeprefix("events_c").partition("_p")
            found.append(Range(int(cell), int(number), row["state"], row["events"], row["size_bytes"]))
        return sorted(found)

    def range(self, name: str) -> Range:
        """Returns a range by its name. Raises RangeUnknown."""
        for found in self.ranges():
            if found.name == name:
                return found
        raise RangeUnknown(f"There is no range {name}: `haas history ranges` lists them.")

    def times(self, found: Range) -> tuple[datetime.datetime, datetime.datetime] | None:
        """Returns when the first and the last event of a range were recorded; None for an empty one."""
        ends: tuple[LiteralString, LiteralString] = ("xid, id", "xid DESC, id DESC")
        rows = [
            self._all(sql.SQL("SELECT recorded_at FROM {} ORDER BY {} LIMIT 1").format(_table(found), sql.SQL(order)))
            for order in ends
        ]
        return (rows[0][0]["recorded_at"], rows[1][0]["recorded_at"]) if rows[0] else None

    def parts(self, found: Range) -> list[Part]:
        """Returns what a range holds, by project; it reads the whole range's index."""
        rows = self._all(
            sql.SQL(
                "SELECT tenant_id, project_id, min(seq) AS first_seq, max(seq) AS last_seq, count(*) AS events"
                "  FROM {} GROUP BY 1, 2 ORDER BY 1, 2"
            ).format(_table(found))
        )
        return [Part(**row) for row in rows]

    def ends(self, found: Range) -> list[Part]:
        """Returns where each project begins and ends in a range, by a few look-ups each; the events are not counted."""
        rows = self._all(
            sql.SQL(
                "WITH RECURSIVE p AS ("
                "  (SELECT tenant_id, project_id FROM {0} ORDER BY tenant_id, project_id LIMIT 1) UNION ALL"
                "  SELECT n.tenant_id, n.project_id FROM p CROSS JOIN LATERAL ("
                "    SELECT tenant_id, project_id FROM {0} AS r"
                "     WHERE (r.tenant_id, r.project_id) > (p.tenant_id, p.project_id)"
                "     ORDER BY tenant_id, project_id LIMIT 1) AS n)"
                "SELECT tenant_id, project_id, 0 AS events,"
                "       (SELECT min(seq) FROM {0} AS r WHERE (r.tenant_id, r.project_id) = (p.tenant_id, p.project_id))"
                "         AS first_seq,"
                "       (SELECT max(seq) FROM {0} AS r WHERE (r.tenant_id, r.project_id) = (p.tenant_id, p.project_id))"
                "         AS last_seq FROM p"
            ).format(_table(found))
        )
        return [Part(**row) for row in rows]

    def newest_payloads(self, tenant_id: str, stream: str, before: int, limit: int) -> list[tuple[int, dict[str, Any]]]:
        """Returns the version and the payload of a tenant's own events in a stream, newest first."""
        rows = self._all(
            "SELECT version, payload FROM haas.events"
            " WHERE tenant_id = %s AND project_id = '*' AND stream = %s AND version < %s"
            " ORDER BY version DESC LIMIT %s",
            tenant_id, stream, before, limit,
        )  # fmt: skip
        return [(row["version"], row["payload"]) for row in rows]

    def last_id(self) -> int:
        """Returns the last id that was given out."""
        return int(self._one("SELECT last_value FROM haas.events_id_seq")["last_value"])

    # ── What keeps a range ───────────────────────────────────────────────────────────────────────────────────────

    def older_parts(self, parts: list[Part]) -> list[Part]:
        """Returns those of which older events lie in another range."""
        return [part for part in parts if (self.first_seq(part.tenant_id, part.project_id) or 0) < part.first_seq]

    def open_plans(self, found: Range) -> list[str]:
        """Returns some plans that are not over and have events in a range, as tenant/project/plan."""
        rows = self._all(
            sql.SQL(
                "SELECT p.tenant_id || '/' || p.project_id || '/' || p.plan_id AS plan FROM haas.plans AS p"
                " WHERE p.state IN ('created', 'running')"
                "   AND EXISTS (SELECT FROM {} AS e WHERE e.tenant_id = p.tenant_id AND e.project_id = p.project_id"
                "                  AND e.plan_id = p.plan_id AND e.plan_id <> '') ORDER BY 1 LIMIT 5"
            ).format(_table(found))
        )
        return [row["plan"] for row in rows]

    def readers_behind(self, found: Range) -> list[str]:
        """Returns the relays and projectors that have not read all of a range."""
        rows = self._all(
            sql.SQL(
                "SELECT coalesce(c.name, w.name) AS name"
                "  FROM haas.relay_cursors AS c FULL JOIN unnest(%s::text[]) AS w(name) ON w.name = c.name,"
                "       (SELECT xid, id FROM {} ORDER BY xid DESC, id DESC LIMIT 1) AS e"
                " WHERE c.name IS NULL OR (c.xid, c.id) < (e.xid, e.id) ORDER BY 1"
            ).format(_table(found)),
            list(_RELAYS),
        )
        return [row["name"] for row in rows]

    def await_writers(self, timeout_s: float = _WRITERS_S) -> None:
        """Waits until whoever writes now is through: an id of an old range may not be committed yet.

        Raises RangeInUse.
        """
        begun = self._one("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS x")["x"]
        give_up = time.monotonic() + timeout_s
        while self._one("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS x")["x"] < begun:
            if time.monotonic() > give_up:
                raise RangeInUse("A transaction that began earlier is still writing: end it, and try again.")
            time.sleep(_POLL_S)

    # ── What a history says ──────────────────────────────────────────────────────────────────────────────────────

    def projects(self, tenant_id: str) -> list[str]:
        """Returns the projects of a tenant that ever had an event."""
        rows = self._all("SELECT project_id FROM haas.project_heads WHERE tenant_id = %s ORDER BY 1", tenant_id)
        return [row["project_id"] for row in rows]

    def first_seq(self, tenant_id: str, project_id: str) -> int | None:
        """Returns the first seq of a project that is left; None where nothing is."""
        rows = self._all(
            "SELECT seq FROM haas.events WHERE tenant_id = %s AND project_id = %s ORDER BY seq LIMIT 1",
            tenant_id, project_id,
        )  # fmt: skip
        return rows[0]["seq"] if rows else None

    def head(self, tenant_id: str, project_id: str, stream: str) -> tuple[int, int]:
        """Returns the version and the seq of a stream's last event; zeros for none."""
        rows = self._all(
            "SELECT version, last_seq FROM haas.stream_heads WHERE tenant_id = %s AND project_id = %s AND stream = %s",
            tenant_id, project_id, stream,
        )  # fmt: skip
        return (rows[0]["version"], rows[0]["last_seq"]) if rows else (0, 0)

    def lines(self, tenant_id: str, project_id: str, after: int, until: int) -> Iterator[list[str]]:
        """Yields events as lines (haas_common.audit.rows), many at a time, those after a seq and up to another."""
        while after < until:
            rows = self._all(
                "SELECT tenant_id, project_id, seq, stream, version, event_type, schema_version, plan_id, task_id,"
                "       actor, causation_id, correlation_id, trace_id, payload::text AS payload,"
                "       (extract(epoch FROM recorded_at) * 1000000)::bigint AS recorded_at_us,"
                "       encode(hash, 'hex') AS hash"
                "  FROM haas.events WHERE tenant_id = %s AND project_id = %s AND seq > %s AND seq <= %s"
                " ORDER BY seq LIMIT %s",
                tenant_id, project_id, after, until, _PAGE,
            )  # fmt: skip
            if not rows:
                return
            after = rows[-1]["seq"]
            yield [line_of(row) for row in rows]

    # ── What is done to ranges ───────────────────────────────────────────────────────────────────────────────────

    def columns(self, found: Range) -> list[str]:
        """Returns a range's columns, in the order in which `copied` has them."""
        rows = self._all(
            "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped"
            " ORDER BY attnum", f"haas.{found.table}",
        )  # fmt: skip
        return [row["attname"] for row in rows]

    def copied(self, found: Range) -> Iterator[bytes]:
        """Yields a range's rows as CSV with a header."""
        statement = sql.SQL("COPY {} TO STDOUT (FORMAT csv, HEADER)").format(_table(found))
        with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
            for block in copy:
                yield bytes(block)

    def detach(self, found: Range) -> None:
        """Detaches a range; appends and reads go on. Goes on with one that was cut short.

        PostgreSQL marks the range as leaving, waits for those who may still read it, and takes it out.
        """
        how: LiteralString = {"attached": "CONCURRENTLY", "detaching": "FINALIZE"}[found.state]
        try:
            self._run(
                sql.SQL("ALTER TABLE haas.{} DETACH PARTITION {} {}").format(
                    sql.Identifier(f"events_c{found.cell}"), _table(found), sql.SQL(how)
                )
            )
        except psycopg.errors.LockNotAvailable as error:
            raise RangeInUse("A transaction that reads the history does not end: end it, and try again.") from error

    def drop(self, found: Range) -> None:
        """Drops a detached range: a table that nobody else knows."""
        self._run(sql.SQL("DROP TABLE {}").format(_table(found)))

    # ── Cells ────────────────────────────────────────────────────────────────────────────────────────────────────

    def tenant_cell(self, tenant_id: str) -> int:
        """Returns the cell of a tenant. Raises RangeUnknown for no tenant."""
        rows = self._all("SELECT cell FROM haas.tenants WHERE tenant_id = %s", tenant_id)
        if not rows:
            raise RangeUnknown(f"There is no tenant {tenant_id}.")
        return int(rows[0]["cell"])

    def cells(self) -> list[int]:
        """Returns every cell."""
        rows = self._all(
            "SELECT substr(c.relname, 9)::int AS cell FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = 'haas.events'::regclass ORDER BY 1"
        )
        return [row["cell"] for row in rows]

    def add_cell(self, cell: int, tenant_id: str) -> None:
        """Makes a cell for a tenant, with the ranges that the next events need: its new projects' events go there."""
        with self._connection.transaction():
            self._run("SET LOCAL ROLE haas_owner")
            self._run("SELECT haas.add_cell(%s::smallint)", cell)
            self._run("RESET ROLE")
            self._run("UPDATE haas.tenants SET cell = %s WHERE tenant_id = %s", cell, tenant_id)

    def projects_elsewhere(self, tenant_id: str, cell: int) -> list[str]:
        """Returns the tenant's projects whose events go to another cell."""
        rows = self._all(
            "SELECT project_id FROM haas.project_heads WHERE tenant_id = %s AND cell <> %s ORDER BY 1", tenant_id, cell
        )
        return [row["project_id"] for row in rows]

    def set_project_cell(self, tenant_id: str, project_id: str, cell: int) -> None:
        """Says where a project's next events go; an append that is under way is waited for."""
        self._run(
            "UPDATE haas.project_heads SET cell = %s WHERE tenant_id = %s AND project_id = %s",
            cell, tenant_id, project_id,
        )  # fmt: skip

    # ── Statements ───────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self, statement: LiteralString | sql.Composed, *values: object) -> None:
        self._connection.execute(statement, values or None)

    def _all(self, statement: LiteralString | sql.Composed, *values: object) -> list[dict[str, Any]]:
        return self._connection.execute(statement, values or None).fetchall()

    def _one(self, statement: LiteralString | sql.Composed, *values: object) -> dict[str, Any]:
        return self._all(statement, *values)[0]


def _table(found: Range) -> sql.Identifier:
    return sql.Identifier("haas", found.table)
