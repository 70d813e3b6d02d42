"""Every mistake that would let a tenant see another is found: by the lint at boot, and by an intruder's probe."""

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from haas_common.config import SERVICES
from haas_common.db import lint
from haas_common.sockets import short_url
from tests.integration.conftest import TestDatabase, copied
from tests.support import catalogue, embedded, intruder
from tests.support.intruder import Intruder
from tests.support.mesh import Mesh
from tests.support.mutants import EVERYWHERE, ONCE, SOUND, Mutant


@dataclass(frozen=True)
class Place:
    """Where a mistake is made: a tenant table or a partition; `keyed` where a unique key has more than the scope."""

    table: str
    policy: str
    kind: str
    keyed: bool


@pytest.fixture(scope="module")
def database(servers: embedded.Servers, template: str) -> Iterator[TestDatabase]:
    """One database for all of these tests, with rows of three scopes in every table; every change is rolled back."""
    with copied(servers, template) as found:
        with psycopg.connect(short_url(found.admin_dsn), autocommit=True) as admin:
            intruder.seed(admin)
        yield found


@pytest.fixture(scope="module")
def places(database: TestDatabase) -> list[Place]:
    """Every tenant table and partition, as the catalogue names them."""
    with psycopg.connect(short_url(database.admin_dsn)) as admin:
        rows = admin.execute(
            "SELECT tablename, policyname, EXISTS (SELECT FROM pg_index x WHERE x.indrelid = "
            " format('haas.%I', tablename)::regclass AND x.indisunique AND x.indnkeyatts > 1)"
            " FROM pg_policies WHERE schemaname = 'haas'"
        ).fetchall()
        policies = {table: (policy, keyed) for table, policy, keyed in rows}
        kinds = catalogue.relations(admin).items()
        return [Place(t, policies[t][0], kind, policies[t][1]) for t, kind in kinds if kind != "view"]


Admin = psycopg.AsyncConnection[dict[str, Any]]


@asynccontextmanager
async def superuser(database: TestDatabase) -> AsyncIterator[Admin]:
    """A superuser's transaction, rolled back: roles belong to the whole server, which other tests share."""
    connection = await psycopg.AsyncConnection.connect(
        short_url(database.admin_dsn), row_factory=dict_row, options="-c search_path=haas,public"
    )
    async with connection:
        yield connection
        await connection.rollback()


async def caught(admin: Admin, database: TestDatabase, change: str) -> tuple[dict[str, list[str]], list[str]]:
    """What the lint says, and what an intruder wins, after a change that is rolled back."""
    async with admin.transaction(force_rollback=True):
        await admin.execute(change.encode())
        await admin.execute("SET LOCAL ROLE haas_app")
        return await lint.broken(admin), await Intruder(admin, database.context_key).findings()


def named_by(broken: dict[str, list[str]], rule: str) -> list[str]:
    """What the rule of these words names."""
    return [what for sentence, found in broken.items() if rule in sentence for what in found]


def killers(mutants: dict[str, Mutant]) -> list[Any]:
    """Every mistake, under a name that says what finds it."""
    return [
        pytest.param(mutant, id=f"{name} ({'lint and probe' if mutant.probe else 'lint'})")
        for name, mutant in mutants.items()
    ]


@pytest.mark.parametrize("change", ["SELECT 1", SOUND], ids=["as migrated", "with one more table"])
async def test_a_sound_catalogue_passes_the_lint_and_gives_an_intruder_nothing(
    database: TestDatabase, change: str
) -> None:
    async with superuser(database) as admin:
        assert await caught(admin, database, change) == ({}, [])


@pytest.mark.parametrize("mutant", killers(ONCE))
async def test_a_mistake_is_found(database: TestDatabase, mutant: Mutant) -> None:
    async with superuser(database) as admin:
        broken, won = await caught(admin, database, mutant.change)
    assert named_by(broken, mutant.rule), broken
    assert any(mutant.probe in what for what in won) if mutant.probe else won == [], won


@pytest.mark.parametrize("mutant", killers(EVERYWHERE))
async def test_a_mistake_is_found_on_every_table(database: TestDatabase, places: list[Place], mutant: Mutant) -> None:
    """Made on all at once; every one of them must be named."""
    tried = [p for p in places if "UNIQUE INDEX" not in mutant.change or p.keyed]
    changes = [mutant.change.replace("{t}", p.table).replace("{p}", p.policy) for p in tried]
    async with superuser(database) as admin:
        broken, won = await caught(admin, database, "; ".join([mutant.before or "SELECT 1", *changes]))
    named = {
        re.match(r"(public\.|haas\.)?(odd_|all_|kept_|copies_)?(\w+)", w)[3] for w in named_by(broken, mutant.rule)
    }  # type: ignore[index]
    assert named >= {p.table for p in tried}
    hits = {p.table for p in tried if any(re.match(rf"{mutant.probe} \S*[._]{p.table}( |$)", w) for w in won)}
    if mutant.probe:
        assert hits if mutant.partly else hits >= {p.table for p in tried if p.kind == "table"}, won
    else:
        assert won == []


def test_every_mistake_of_the_list_is_killed_and_every_rule_kills_one() -> None:
    """What finds each is asserted above, mistake by mistake; the notes asked for 24, 17 of them found by a probe."""
    mutants = [*EVERYWHERE.values(), *ONCE.values()]
    assert len(mutants) >= 80
    assert sum(bool(mutant.probe) for mutant in mutants) >= 40
    assert [rule for rule in lint.RULES if not any(m.rule in rule for m in mutants)] == []
    assert [m for m in mutants if sum(m.rule in rule for rule in lint.RULES) != 1] == []


def test_a_service_whose_database_has_a_hole_does_not_start(
    servers: embedded.Servers, template: str, tmp_path: Path
) -> None:
    """Real processes: each says which rule is broken and by what, and ends as one that is not set up right."""
    mesh = Mesh(tmp_path)
    with copied(servers, template) as found:
        with psycopg.connect(short_url(found.admin_dsn), autocommit=True) as admin:
            admin.execute("ALTER TABLE haas.inputs NO FORCE ROW LEVEL SECURITY")
        processes = []
        for service in SERVICES:
            folder = mesh.secrets / service
            (folder / "database.url").write_text(found.app_dsn)
            (folder / "context.key").write_text(found.context_key.hex())
            (folder / "valkey.url").write_text(servers.valkey_url)
            environment = {
                "HAAS_ENV": "dev", "HAAS_HOME": str(tmp_path), "HAAS_LISTEN": "127.0.0.1:0",
                "HAAS_SECRETS_DIR": str(folder), "PATH": os.environ["PATH"],
                **{f"HAAS_PEER_{peer.upper()}": "127.0.0.1:1" for peer in SERVICES},
            }  # fmt: skip
            command = [sys.executable, "-m", f"haas_{service}"]
            processes.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
        for process in processes:
            _, said = process.communicate(timeout=60)
            assert process.returncode == 2, said
            assert "CatalogueError: a table with a tenant_id must force row security: inputs\n" in said
            assert "Traceback" not in said
