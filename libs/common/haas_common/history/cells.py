"""Gives a big tenant a cell of its own: its next events go into partitions that hold nobody else's."""

from haas_common.history.partitions import Partitions
from haas_common.history.refusals import RangeUnknown

_CELLS_MAX = 1000


def isolate(partitions: Partitions, tenant_id: str) -> int:
    """Has the next events of a tenant's projects go to a cell of its own, those of new projects too; returns the cell.

    Nothing is copied: what there is stays where it is. A project's head is locked for one update. It may be run again.
    Raises RangeUnknown.
    """
    cell = partitions.tenant_cell(tenant_id)
    if cell == 0:
        cell = max(partitions.cells()) + 1
        if cell > _CELLS_MAX:
            raise RangeUnknown(f"There are {_CELLS_MAX} cells already: every one costs each query its planning.")
        partitions.add_cell(cell, tenant_id)
    # Whoever looked the tenant's cell up before it was set is through when those that write now are.
    partitions.await_writers()
    for project in partitions.projects_elsewhere(tenant_id, cell):
        partitions.set_project_cell(tenant_id, project, cell)
    return cell
