"""Driver errors become the fleet's own, here and nowhere else. No text of the database leaves with them."""

import psycopg
import psycopg_pool
from psycopg import errors as pg

from haas_common import errors


def translate(error: Exception) -> Exception:
    """Returns the HaasError for a driver error; what has no translation comes back as it is (a fault of ours)."""
    if isinstance(error, psycopg_pool.PoolTimeout | psycopg_pool.TooManyRequests):
        return errors.Overloaded("Too many database calls are under way.", retry_after_s=1)
    if not isinstance(error, psycopg.Error):
        return error
    detail = (error.diag.message_detail or "") if error.diag else ""
    if error.sqlstate == "HA001":
        return errors.LeaseLost("This writer's lease was taken over.", lease=detail)
    if error.sqlstate == "HA002":
        return errors.StreamVersionConflict("The stream moved on since it was read.", stream=detail)
    return _by_class(error)


def _by_class(error: psycopg.Error) -> Exception:
    table = (error.diag.table_name or "") if error.diag else ""
    if isinstance(error, pg.UniqueViolation):
        return errors.ResourceExists("There is one by this id.", resource=table)
    if isinstance(error, pg.ForeignKeyViolation):
        return errors.ResourceNotFound("There is no such tenant and project.", resource="project")
    if isinstance(error, pg.SerializationFailure | pg.DeadlockDetected | pg.LockNotAvailable):
        return errors.StreamVersionConflict("Others were writing at the same time; try again.", stream="")
    if isinstance(error, pg.QueryCanceled | pg.TransactionTimeout | pg.IdleInTransactionSessionTimeout):
        return errors.DeadlinePassed("The database did not answer before the deadline.")
    if isinstance(error, pg.CheckViolation) and not error.diag.constraint_name and table.startswith("events"):
        # No range is there for the next id: ours to mend (haas_common.history.headroom), not the caller's.
        return errors.DatabaseUnavailable("The history has no room for the event; nothing was written.")
    if isinstance(error, pg.CheckViolation | pg.DataError):
        return errors.FieldInvalid("A value is outside of what the database keeps.", field=table, rule="stored form")
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return errors.DatabaseUnavailable("The database cannot be reached; nothing was written.")
    return error
