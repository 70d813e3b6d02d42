"""`haas tenant`: create, list, limits."""

from itertools import islice

import click

from haas_cli import api
from haas_cli.errors import Exit


@click.group()
def command() -> None:
    """Create, list and limit tenants, as the fleet's operator."""


@command.command()
@click.argument("tenant_id")
@click.argument("project_id")
@click.option("--name", default="", help="For people.")
@api.json_option
def create(tenant_id: str, project_id: str, name: str, as_json: bool) -> int:
    """Create a tenant and its first project."""
    with api.operator() as client:
        made = client.create_tenant(tenant_id, project_id, name)
    if as_json:
        api.print_json(api.as_dict(made))
    else:
        click.echo(f"{made.tenant.tenant_id}/{made.project.project_id}")
    return int(Exit.OK)


@command.command("list")
@click.option("--limit", default=100, type=click.IntRange(1, 10_000), show_default=True, help="At most this many.")
@api.json_option
def list_(limit: int, as_json: bool) -> int:
    """List tenants by id."""
    with api.operator() as client:
        found = list(islice(client.list_tenants(min(limit, 500)), limit))
    api.print_rows(found, ("tenant_id", "display_name", "tasks_max", "weight", "create_time"), as_json, "tenants")
    return int(Exit.OK)


@command.command()
@click.argument("tenant_id")
@click.argument("project_id")
@click.option(
    "--tasks", "tasks_max", default=0, type=click.IntRange(0, 100_000), show_default=True, help="0: no limit."
)
@click.option("--weight", default=1, type=click.IntRange(1, 100), show_default=True, help="Its share of the planners.")
@api.json_option
def limits(tenant_id: str, project_id: str, tasks_max: int, weight: int, as_json: bool) -> int:
    """Say how many of a tenant's tasks run at once, and its share; PROJECT_ID's history tells of it."""
    with api.operator() as client:
        found = client.set_tenant_limits(tenant_id, project_id, tasks_max, weight)
    if as_json:
        api.print_json(api.as_dict(found))
    else:
        click.echo(f"{found.tenant_id}: {found.tasks_max or 'any number of'} tasks at once, weight {found.weight}")
    return int(Exit.OK)
