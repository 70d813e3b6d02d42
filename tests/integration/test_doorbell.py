"""The doorbell when its connections break."""

import contextlib
from collections.abc import AsyncIterator

import psycopg

from haas_common.db import Database
from haas_common.doorbell import Doorbell
from tests.integration.conftest import TestDatabase


@contextlib.asynccontextmanager
async def doorbells(database: TestDatabase) -> AsyncIterator[tuple[Doorbell, Doorbell]]:
    """Two processes' doorbells."""
    opened = await Database.open(database.app_dsn, database.context_key, "test")
    both = Doorbell(opened), Doorbell(opened)
    for one in both:
        await one.start()
    yield both
    for one in both:
        await one.stop()
    await opened.close()


async def test_what_is_rung_into_a_broken_connection_is_rung_by_the_next_one(database: TestDatabase) -> None:
    async with doorbells(database) as (ringer, hearer):
        with hearer.bell("first", "second") as bell:
            # Whoever begins to listen is rung for what it has missed.
            assert await bell.wait(10)
            ringer.ring("first")
            assert await bell.wait(10)
            with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
                ended = admin.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                    " WHERE query LIKE 'SELECT pg_notify%' AND datname = current_database()"
                ).fetchall()
            assert ended == [(True,)]
            ringer.ring("second")
            assert await bell.wait(10)


async def test_what_a_process_rings_wakes_its_own_subscribers_once(database: TestDatabase) -> None:
    async with doorbells(database) as (ringer, hearer):
        with ringer.bell("topic") as own, hearer.bell("topic") as other, ringer.bell("mark") as mark:
            # Whoever begins to listen is rung for what it has missed.
            await mark.wait(10)
            await own.wait(10)
            ringer.ring("topic")
            assert await own.wait(10)
            assert await other.wait(10)
            # Rings are heard in their order: behind this one nothing of the first is still to come.
            hearer.ring("mark")
            assert await mark.wait(10)
            assert not own._rung.is_set()
