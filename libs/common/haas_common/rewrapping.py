"""Data keys wrapped anew, after a fresh first line of data.key (docs/howto/erase-data.md)."""

import json
import pathlib

from haas_common.db import Database, Lease, Scope, Tx, load_queries
from haas_common.key_ring import KeyRing

SQL = load_queries("haas_common")
_REWRAP_MAX = 1000
_RELAY = "relay/data-keys"


async def rewrap(tx: Tx, ring: KeyRing, scope: Scope, limit: int) -> int:
    """Wraps a project's keys anew that the first line of data.key did not wrap; returns how many, `limit` at most."""
    rows = await tx.all(SQL.data_keys_to_rewrap, **_in(scope), first=ring.first, limit=limit)
    fresh = [
        {
            **_in(scope),
            "key_id": row["key_id"],
            "wrapped": ring.wrap(ring.unwrap(row["wrapped"], scope, row["key_id"]), scope, row["key_id"]).hex(),
        }
        for row in rows
    ]
    if fresh:
        await tx.run(SQL.rewrap_data_keys, rows=json.dumps(fresh))
    return len(fresh)


async def rewrap_all(database: Database, ring: KeyRing) -> int:
    """Wraps every key of every project anew that the first line of data.key did not wrap; returns how many."""
    async with database.batch_tx(Lease(_RELAY, 0), []) as tx:
        scopes = [Scope(row["tenant_id"], row["project_id"]) for row in await tx.all(SQL.projects_with_keys)]
    done = 0
    for scope in scopes:
        more = True
        while more:
            async with database.tenant_tx(scope) as tx:
                wrapped = await rewrap(tx, ring, scope, _REWRAP_MAX)
            done, more = done + wrapped, wrapped == _REWRAP_MAX
    return done


async def rewrap_everything(secrets_dir: pathlib.Path) -> str:
    """Wraps every key anew with a service's own secrets; returns the id of the key that wraps from now on."""
    ring = KeyRing(secrets_dir / "data.key")
    url, context_key = (
        (secrets_dir / name).read_text(encoding="ascii").strip() for name in ("database.url", "context.key")
    )
    database = await Database.open(url, bytes.fromhex(context_key), "haas-keys")
    try:
        await rewrap_all(database, ring)
    finally:
        await database.close()
    return f"dk-{ring.first.hex()}"


def _in(scope: Scope) -> dict[str, str]:
    return {"tenant_id": scope.tenant_id, "project_id": scope.project_id}
