"""What the command line says when it cannot do what it was asked: an exit status and one sentence."""

from enum import IntEnum


class Exit(IntEnum):
    """The exit statuses of `haas`; scripts may rely on them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_RUNNING = 3
    NOT_FOUND = 4
    REFUSED = 5
    UNAVAILABLE = 6
    UNVERIFIED = 7
    INTERRUPTED = 130


class CliError(Exception):
    """A failure told in one sentence: what, why, and what to do.

    Attributes:
        exit_status: What the process ends with.
        reason: A stable name for scripts (`--json`).
    """

    exit_status = Exit.FAILED
    reason = "FAILED"

    def __init__(self, message: str, *, reason: str | None = None, **details: str) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        if reason is not None:
            self.reason = reason


class UsageError(CliError):
    """The command was called wrongly."""

    exit_status = Exit.USAGE
    reason = "USAGE"


class FleetError(CliError):
    """A part of the fleet could not be set up or started."""

    reason = "FLEET_FAILED"


class NotRunning(CliError):
    """The fleet is not running."""

    exit_status = Exit.NOT_RUNNING
    reason = "NOT_RUNNING"


class NotFound(CliError):
    """What was asked for does not exist."""

    exit_status = Exit.NOT_FOUND
    reason = "NOT_FOUND"


class Refused(CliError):
    """The caller may not do this."""

    exit_status = Exit.REFUSED
    reason = "REFUSED"


class Unavailable(CliError):
    """The fleet, or a part of it, does not answer now; trying again may help."""

    exit_status = Exit.UNAVAILABLE
    reason = "UNAVAILABLE"


class Unverified(CliError):
    """A signature or a hash does not match."""

    exit_status = Exit.UNVERIFIED
    reason = "UNVERIFIED"
