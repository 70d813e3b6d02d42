"""What `haas history` runs on the operator's machine: as the database's superuser, with the fleet's own keys."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from haas_cli.fleet.home import Home
from haas_cli.fleet.prepare import admin_url
from haas_common.blobs import Blobs, open_blobs
from haas_common.config import Config
from haas_common.db import Database
from haas_common.fleet_keys import FleetKeys
from haas_common.history import cells
from haas_common.history.drop import Dropper
from haas_common.history.listing import Listed, listed
from haas_common.history.partitions import Partitions, Range
from haas_common.sockets import short_url

Told = Callable[[str], None]
#: Whose keys sign what is left of a history.
_SIGNER = "orchestrator"


def ranges(home: Home) -> list[Listed]:
    """Lists the ranges."""
    with Partitions.opened(short_url(admin_url(home))) as partitions:
        return listed(partitions, open_blobs(_config(home)))


def named(home: Home, name: str) -> Range:
    """Returns a range."""
    with Partitions.opened(short_url(admin_url(home))) as partitions:
        return partitions.range(name)


def before(home: Home, until: str) -> list[Range]:
    """Returns the ranges that are older than one by name, or than a date."""
    with Partitions.opened(short_url(admin_url(home))) as partitions:
        return Dropper.older(partitions, until)


def drop(home: Home, names: list[str], into: Path | None, told: Told) -> int:
    """Drops ranges, after they were written to a file where one is named; returns how many events went."""
    with Partitions.opened(short_url(admin_url(home))) as partitions:
        return asyncio.run(_drop(home, partitions, names, into, told))


def isolate(home: Home, tenant_id: str) -> int:
    """Gives a tenant a cell of its own; returns its number."""
    with Partitions.opened(short_url(admin_url(home))) as partitions:
        return cells.isolate(partitions, tenant_id)


async def _drop(home: Home, partitions: Partitions, names: list[str], into: Path | None, told: Told) -> int:
    config = _config(home)
    blobs: Blobs = open_blobs(config)
    keys = FleetKeys.open(config.secrets_dir)
    database = await Database.of(config, pool_max=1)
    try:
        dropper = Dropper(partitions, database, blobs, keys, told)
        return sum([await dropper.drop(partitions.range(name), into) for name in names])
    finally:
        await database.close()


def _config(home: Home) -> Config:
    given = {"HAAS_HOME": str(home.root), "HAAS_STORE_DIR": str(home.store), "HAAS_LISTEN": "127.0.0.1:0"}
    given["HAAS_SECRETS_DIR"] = str(home.secrets / _SIGNER)
    return Config.from_env(_SIGNER, {**os.environ, **given})
