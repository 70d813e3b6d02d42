"""`haas keys`: the keys that sign tokens."""

import json

import click

from haas_cli.errors import Exit, FleetError, Refused
from haas_cli.fleet.home import Home


@click.group()
def command() -> None:
    """Look after the keys that sign tokens."""


@command.command()
@click.option(
    "--issuer", type=click.Choice(["gateway", "planner"]), default="gateway", show_default=True,
    help="gateway: users' tokens; planner: the tokens that the fleet's own work travels under.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def rotate(issuer: str, as_json: bool) -> int:
    """Give an issuer a new key while the fleet runs; tokens of the old one stay valid until they expire."""
    from haas_cli.fleet.parts import SERVICES
    from haas_common.pki import rotate_token_key
    from haas_gateway.edge.admin import await_keys, keys_taken
    from haas_gateway.envoy import EdgeSettings, write_jwks

    home = Home.from_env()
    settings = EdgeSettings(home.root, home.secrets, "127.0.0.1", 0, {})
    admin = home.root / settings.admin_socket

    def publish() -> None:
        """The edge knows the new key before the first token is signed with it."""
        before = keys_taken(admin)
        write_jwks(settings)
        await_keys(admin, before)

    try:
        kid = rotate_token_key(home.secrets, issuer, SERVICES, before_use=publish)
    except TimeoutError as error:
        raise FleetError(f"{error}: nothing signs with the new key; try again.") from error
    except OSError as error:
        text = f"The keys in {home.secrets} cannot be written ({error.strerror}): run this as its owner."
        raise Refused(text) from error
    click.echo(json.dumps({"issuer": issuer, "kid": kid}) if as_json else f"{issuer} signs with {kid} from now on")
    return int(Exit.OK)
