"""The `haas` command.

Each subcommand is a module of `haas_cli.commands`, imported only when it runs: `haas --help` imports click and nothing
else. A new one is a line of `COMMANDS` and a module with a click command named `command`.
"""

import json
import sys
from importlib import import_module

import click

from haas_cli.errors import CliError, Exit

# name: what --help says.
COMMANDS = {
    "demo": "Run the main job on real input, from objective to verified artifacts.",
    "up": "Start the fleet.",
    "down": "Stop the fleet.",
    "status": "Show the parts, their memory and ports.",
    "metrics": "Print what the services count.",
    "doctor": "Check what the fleet needs from this machine.",
    "env": "Print the variables that curl, grpcurl and the SDKs use.",
    "token": "Print a token for a tenant's project.",
    "keys": "Look after the keys that sign tokens.",
    "tenant": "Create and list tenants.",
    "project": "Create and list a tenant's projects.",
    "profile": "Publish and read a project's profile and documents.",
    "intent": "Say what a text asks for.",
    "inputs": "Upload files for plans.",
    "plan": "Create, run, watch, steer, compare and cancel plans.",
    "artifacts": "List, read and verify artifacts.",
    "events": "Read the history.",
    "audit": "Verify, export and import a tenant's history.",
    "history": "List, drop and move old parts of the history.",
    "privacy": "List and erase what a project's history holds of people.",
    "usage": "Show what a project used, by day.",
    "projections": "List and rebuild the read models.",
    "notifications": "Read the inbox.",
    "tools": "List and call tools.",
    "agents": "List, register and pause agents; list skills.",
    "hooks": "Take webhooks of systems outside.",
}


class LazyGroup(click.Group):
    """Knows its commands by name and imports the one that runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names, in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports a command."""
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = import_module(f"haas_cli.commands.{cmd_name}").command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands from the table, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 ok, 1 failed, 2 usage, 3 not running, 4 not found, 5 refused, 6 unavailable, "
    "7 verification failed, 130 interrupted.",
)
@click.version_option(package_name="haas-platform", prog_name="haas")
def cli() -> None:
    """HAAS: a fleet of agents for many apps, on one machine."""


def run(arguments: list[str]) -> int:
    """Runs the command line; returns its exit status. Errors are one sentence on standard error (JSON with --json)."""
    as_json = "--json" in arguments
    try:
        result = cli.main(args=arguments, prog_name="haas", standalone_mode=False)
    except click.ClickException as error:
        if as_json:
            _print_error("USAGE", error.format_message(), {})
        else:
            error.show()
        return error.exit_code
    except CliError as error:
        if as_json:
            _print_error(error.reason, error.message, error.details)
        else:
            click.echo(f"haas: {error.message}", err=True)
        return int(error.exit_status)
    except (KeyboardInterrupt, click.Abort):
        return int(Exit.INTERRUPTED)
    except BrokenPipeError:
        # The reader (`haas … | head`) has enough; nothing more can be flushed to it.
        sys.stdout = None  # type: ignore[assignment]
        return int(Exit.OK)
    return result if isinstance(result, int) else int(Exit.OK)


def _print_error(reason: str, message: str, details: dict[str, str]) -> None:
    click.echo(json.dumps({"error": {"reason": reason, "message": message, **details}}, ensure_ascii=False), err=True)


def main() -> None:
    """The entry point."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
