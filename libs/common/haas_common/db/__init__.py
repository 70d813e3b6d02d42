"""The database's two doors (design 8), named queries, and the one place where driver errors are translated.

Nothing reads or writes tenant data but through `Database.tenant_tx` (one tenant and project) or `Database.batch_tx`
(a lease and a signed set of scopes, for shard writers, projectors and relays).
"""

from haas_common.db.doors import Database, Lease, Scope, Tx
from haas_common.db.lint import CatalogueError
from haas_common.db.queries import Queries, Query, load_queries

__all__ = ["CatalogueError", "Database", "Lease", "Queries", "Query", "Scope", "Tx", "load_queries"]
