"""`haas notifications`: list."""

from itertools import islice

import click

from haas_cli import api
from haas_cli.commands import steering
from haas_cli.errors import Exit


@click.group()
def command() -> None:
    """Read the inbox."""


@command.command("list")
@click.option("--agent", "agents", multiple=True, help="Whose inbox; with HAAS_TOKEN it is one of the token's agents.")
@click.option("--role", default="", help="The inbox of a role, such as one that approvals are asked of.")
@click.option("--limit", default=20, type=click.IntRange(1, 10_000), show_default=True, help="At most this many.")
@api.scoped
@api.json_option
def list_(scope: tuple[str, str], agents: tuple[str, ...], role: str, limit: int, as_json: bool) -> int:
    """List envelopes, newest first: those to the token's agents, its holder and the roles that it holds."""
    with steering.acting(scope, role, agents) as client:
        receivers = (*agents, *((f"role:{role}",) if role else ())) or ("",)
        inboxes = [client.notifications(receiver, min(limit, 500)) for receiver in receivers]
        found = [message for inbox in inboxes for message in islice(inbox, limit)]
    found = sorted(found, key=lambda message: message.seq, reverse=True)[:limit]
    api.print_rows(found, ("seq", "send_time", "performative", "receiver_id", "nl_summary"), as_json, "notifications")
    return int(Exit.OK)
