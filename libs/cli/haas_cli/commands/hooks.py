"""`haas hooks`: the webhooks of systems outside that end waits."""

import click

from haas_cli import api
from haas_cli.errors import Exit


@click.group()
def command() -> None:
    """Take webhooks of systems outside as signals. Needs the role admin."""


@command.command()
@click.argument("hook_id")
@click.option("--signal", required=True, help="The signal that its webhooks give, e.g. payment.received.")
@click.option("--plan-path", default="", help="JMESPath that finds the plan's id in the body; else the URL names it.")
@click.option("--value-path", default="", help="JMESPath that gives the signal's value; the whole body unless given.")
@click.option("--new-secret", is_flag=True, help="Make its secret anew; the one before is no longer taken.")
@api.scoped
@api.json_option
def put(
    scope: tuple[str, str], hook_id: str, signal: str, plan_path: str, value_path: str, new_secret: bool, as_json: bool
) -> int:
    """Make HOOK_ID, or change it; the last line is its secret, where that is new: it is told this once."""
    with api.client(scope, role="admin") as client:
        made = client.put_hook(hook_id, signal, plan_path, value_path, new_secret=new_secret)
    if as_json:
        api.print_json(api.as_dict(made))
    else:
        click.echo(made.hook.url_path)
        if made.secret:
            click.echo(made.secret)
    return int(Exit.OK)


@command.command("list")
@api.scoped
@api.json_option
def list_(scope: tuple[str, str], as_json: bool) -> int:
    """List the hooks, and where their webhooks go."""
    with api.client(scope, role="admin") as client:
        found = client.list_hooks()
    api.print_rows(found, ("hook_id", "signal", "plan_path", "value_path", "url_path"), as_json, "hooks")
    return int(Exit.OK)


@command.command()
@click.argument("hook_id")
@api.scoped
@api.json_option
def remove(scope: tuple[str, str], hook_id: str, as_json: bool) -> int:
    """Remove HOOK_ID: nothing that is signed with its secret is taken any more."""
    with api.client(scope, role="admin") as client:
        client.remove_hook(hook_id)
    if as_json:
        api.print_json({"removed": hook_id})
    else:
        click.echo(f"{hook_id} is removed")
    return int(Exit.OK)
