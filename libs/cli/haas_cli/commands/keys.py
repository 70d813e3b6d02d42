"""`haas keys`: the keys that sign tokens, artifacts and checkpoints, and the one that wraps data keys."""

import json

import click

from haas_cli.errors import Exit, FleetError, Refused
from haas_cli.fleet.home import Home

TOKENS = ("gateway", "planner")
FLEET = ("artifact", "checkpoint")
DATA = "data"


@click.group()
def command() -> None:
    """Look after the keys that sign tokens, artifacts and checkpoints, and the one that wraps data keys."""


@command.command()
@click.option(
    "--issuer", type=click.Choice([*TOKENS, *FLEET, DATA]), default="gateway", show_default=True,
    help="gateway: users' tokens; planner: the tokens that the fleet's own work travels under; "
         "artifact: the certificates of the agents that sign artifacts; checkpoint: the history's checkpoints; "
         "data: what wraps the keys that people's data is sealed under.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def rotate(issuer: str, as_json: bool) -> int:
    """Give an issuer a new key while the fleet runs.

    Tokens of the old one stay valid until they expire; artifacts and checkpoints verify with it for good. Data keys
    are wrapped anew at once.
    """
    home = Home.from_env()
    ways = {**dict.fromkeys(TOKENS, _rotate_token), **dict.fromkeys(FLEET, _rotate_fleet), DATA: _rotate_data}
    try:
        kid = ways[issuer](home, issuer)
    except TimeoutError as error:
        raise FleetError(f"{error}: nothing signs with the new key; try again.") from error
    except OSError as error:
        text = f"The keys in {home.secrets} cannot be written ({error.strerror}): run this as its owner."
        raise Refused(text) from error
    verb = "wraps" if issuer == DATA else "signs"
    click.echo(json.dumps({"issuer": issuer, "kid": kid}) if as_json else f"{issuer} {verb} with {kid} from now on")
    return int(Exit.OK)


def _rotate_token(home: Home, issuer: str) -> str:
    from haas_cli.fleet.parts import SERVICES
    from haas_common.pki import rotate_token_key
    from haas_gateway.edge.admin import await_keys, keys_taken
    from haas_gateway.envoy import EdgeSettings, write_jwks

    settings = EdgeSettings(home.root, home.secrets, "127.0.0.1", 0, {})
    admin = home.root / settings.admin_socket

    def publish() -> None:
        """The edge knows the new key before the first token is signed with it."""
        before = keys_taken(admin)
        write_jwks(settings)
        await_keys(admin, before)

    return rotate_token_key(home.secrets, issuer, SERVICES, before_use=publish)


def _rotate_fleet(home: Home, use: str) -> str:
    from haas_cli.fleet.parts import SERVICES
    from haas_common.pki import rotate_fleet_key

    return rotate_fleet_key(home.secrets, use, SERVICES)


def _rotate_data(home: Home, issuer: str) -> str:
    """The new key wraps at once, the old one still unwraps; when nothing is wrapped by it any more, older ones go."""
    import asyncio

    from haas_cli.fleet.parts import SERVICES
    from haas_common.errors import HaasError
    from haas_common.pki import retire_data_keys, rotate_data_key
    from haas_common.rewrapping import rewrap_everything

    rotate_data_key(home.secrets, SERVICES)
    try:
        kid = asyncio.run(rewrap_everything(home.secrets / "orchestrator"))
    except HaasError as error:
        text = f"The {issuer} keys could not be wrapped anew ({error}): the old key stays valid; try again."
        raise FleetError(text) from error
    retire_data_keys(home.secrets, SERVICES)
    return kid
