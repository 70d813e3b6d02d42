"""`haas privacy`: whose data there is, and its erasure."""

from itertools import islice

import click

from haas_cli import api
from haas_cli.errors import Exit, UsageError


@click.group()
def command() -> None:
    """List and erase what a project's history holds of people."""


@command.command()
@click.option("--subject", default="", help="The person, as tokens name them.")
@click.option("--everything", is_flag=True, help="Everybody's data in the project, and what is nobody's own.")
@click.option("--reason", default="", help="Why; it is kept for good and should name no person.")
@click.option("--yes", is_flag=True, help="Do not ask: nothing brings it back.")
@api.scoped
@api.json_option
def erase(scope: tuple[str, str], subject: str, everything: bool, reason: str, yes: bool, as_json: bool) -> int:
    """Erase a person's data for good: destroy its keys, delete artifacts and uploads.

    The history stays whole and verifies as before.
    """
    if everything == bool(subject):
        raise UsageError("Say whose: --subject, or --everything.")
    whose = "everybody's data" if everything else f"the data of {subject}"
    if not yes and not click.confirm(f"Erase {whose} in {'/'.join(scope)} for good?", err=True):
        raise UsageError("Nothing was erased.")
    with api.client(scope, "admin") as client:
        done = client.erase_data(subject, everything=everything, reason=reason)
    if as_json:
        api.print_json(api.as_dict(done))
    else:
        keys = f"{len(done.key_ids)} keys destroyed"
        click.echo(f"{keys}, {done.plans} plans, {done.artifacts} artifacts and {done.blobs} files erased")
    return int(Exit.OK)


@command.command()
@click.option("--limit", default=100, type=click.IntRange(1, 10_000), show_default=True, help="At most this many.")
@api.scoped
@api.json_option
def subjects(scope: tuple[str, str], limit: int, as_json: bool) -> int:
    """List whose data the project holds or held, with the ids of their keys; never a key."""
    with api.client(scope, "admin") as client:
        found = list(islice(client.list_subjects(min(limit, 500)), limit))
    if as_json:
        api.print_json({"subjects": [api.as_dict(one) for one in found]})
        return int(Exit.OK)
    for one in found:
        for key in one.keys:
            state = f"destroyed {key.destroy_time.ToJsonString()}" if key.HasField("destroy_time") else "living"
            click.echo(f"{one.subject or '(nobody)'}  {key.key_id}  {key.create_time.ToJsonString()}  {state}")
    return int(Exit.OK)
