"""`haas token`: a token for a tenant's project, or the operator's."""

import json

import click

from haas_cli.errors import Exit, UsageError
from haas_cli.fleet.home import Home

ROLES = click.Choice(["viewer", "member", "admin", "auditor", "worker"])


@click.command()
@click.option("--tenant", envvar="HAAS_TENANT", help="The tenant.")
@click.option("--project", envvar="HAAS_PROJECT", help="One of its projects.")
@click.option("--role", type=ROLES, default="member", show_default=True, help="What the holder may do.")
@click.option("--subject", default="user@cli", show_default=True, help="Who holds it, for the history.")
@click.option("--agent", "agents", multiple=True, help="An agent whose notifications the holder receives.")
@click.option("--decides", multiple=True, metavar="ROLE", help="A role in which the holder decides approvals.")
@click.option("--operator", is_flag=True, help="The operator's token instead (5 min): tenants, projects, tokens.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    tenant: str | None,
    project: str | None,
    role: str,
    subject: str,
    agents: tuple[str, ...],
    decides: tuple[str, ...],
    operator: bool,
    as_json: bool,
) -> int:
    """Print a short-lived token; only on the fleet's machine, as its owner."""
    from haas_cli import remote

    home = Home.from_env()
    if operator:
        document = {"token": remote.operator_token(home)}
    else:
        if not tenant or not project:
            raise UsageError("A token is for one project: give --tenant and --project (or --operator).")
        issued = remote.issue_token(
            home, tenant=tenant, project=project, subject=subject, role=role, agents=agents, decides=decides
        )
        expires = issued.expire_time.ToDatetime().isoformat() + "Z"
        document = {"token": issued.token, "expire_time": expires, "scopes": list(issued.scopes)}
    click.echo(json.dumps(document) if as_json else document["token"])
    return int(Exit.OK)
