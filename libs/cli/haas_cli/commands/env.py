"""`haas env`: the variables that curl, grpcurl and the SDKs use."""

import json
import shlex

import click

from haas_cli.commands.token import ROLES
from haas_cli.errors import Exit
from haas_cli.fleet.home import Home


@click.command()
@click.option("--tenant", required=True, envvar="HAAS_TENANT", help="The tenant.")
@click.option("--project", required=True, envvar="HAAS_PROJECT", help="One of its projects.")
@click.option("--role", type=ROLES, default="member", show_default=True, help="What the token's holder may do.")
@click.option("--subject", default="user@cli", show_default=True, help="Who holds the token, for the history.")
@click.option("--agent", "agents", multiple=True, help="An agent whose notifications the holder receives.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(tenant: str, project: str, role: str, subject: str, agents: tuple[str, ...], as_json: bool) -> int:
    """Print export lines: eval "$(haas env --tenant t-medluxe --project p-q4-2025)"."""
    from haas_cli import remote

    home = Home.from_env()
    target = remote.local_address(home)
    issued = remote.issue_token(home, tenant=tenant, project=project, subject=subject, role=role, agents=agents)
    variables = {
        "HAAS_URL": target.url,
        "HAAS_HOST": target.host,
        "HAAS_CACERT": str(target.cacert),
        "HAAS_TENANT": tenant,
        "HAAS_PROJECT": project,
        "HAAS_TOKEN": issued.token,
    }
    if as_json:
        click.echo(json.dumps(variables, indent=1))
    else:
        for name, value in variables.items():
            click.echo(f"export {name}={shlex.quote(value)}")
    return int(Exit.OK)
