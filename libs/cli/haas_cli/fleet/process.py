"""Child processes that never outlive their parent."""

import ctypes
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from haas_cli.fleet import confine

_PR_SET_PDEATHSIG = 1
# Loaded before any fork: dlopen between fork and exec may deadlock.
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Identity:
    """An unprivileged user that a command runs as."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Command:
    """What to run and as whom.

    Attributes:
        argv: Program (absolute path) and arguments.
        cwd: Working directory; a confined command starts in `/mnt` instead.
        environment: The whole environment, nothing is inherited.
        identity: Run as this user; None is the invoking user.
        binds: Directories to show below `/mnt` in private mounts, by name; needs an identity.
        death_signal: What the command receives when its parent dies.
        stop_signal: What asks the command for a clean stop.
    """

    argv: tuple[str, ...]
    cwd: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    identity: Identity | None = None
    binds: tuple[tuple[Path, str], ...] = ()
    death_signal: signal.Signals = signal.SIGTERM
    stop_signal: signal.Signals = signal.SIGTERM


def spawn(command: Command, *, stdout: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    """Starts a command in its own session, with standard error joined to standard output.

    Call it from a thread that lives as long as the child may: the kernel sends the death signal when the *thread* that
    forked ends.

    Args:
        command: What to run.
        stdout: As `subprocess.Popen` takes it.
    """
    parent = os.getpid()
    if command.binds and command.identity is not None:
        argv = [sys.executable, "-I", "-S", confine.__file__, str(command.identity.uid), str(command.identity.gid)]
        argv += [str(int(command.death_signal)), str(parent)]
        argv += [f"{source}={name}" for source, name in command.binds]
        return subprocess.Popen(
            [*argv, "--", *command.argv], stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.STDOUT,
            env=dict(command.environment), start_new_session=True,
        )  # fmt: skip
    user = {} if command.identity is None else {
        "user": command.identity.uid, "group": command.identity.gid, "extra_groups": []
    }  # fmt: skip
    death_signal = int(command.death_signal)

    def tie_to_parent() -> None:
        # Runs after the change of user, which would clear it.
        _libc.prctl(_PR_SET_PDEATHSIG, death_signal)
        if os.getppid() != parent:
            os._exit(0)

    return subprocess.Popen(
        command.argv, cwd=command.cwd, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.STDOUT,
        env=dict(command.environment), start_new_session=True, preexec_fn=tie_to_parent, **user,
    )  # fmt: skip


def unprivileged() -> Identity | None:
    """Returns who runs PostgreSQL: None (the invoking user), or for root `postgres` if there is one, else `nobody`."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Identity(entry.pw_uid, entry.pw_gid)
    return Identity(65534, 65534)


def reaches(identity: Identity, path: Path) -> bool:
    """Tells whether a user may enter a directory (or run a file), all folders above it included."""
    probe = subprocess.run(
        ["/bin/sh", "-c", 'test -x "$1"', "sh", str(path)], cwd="/", user=identity.uid, group=identity.gid,
        extra_groups=[], check=False,
    )  # fmt: skip
    return probe.returncode == 0
