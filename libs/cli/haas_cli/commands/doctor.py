"""`haas doctor`: what the fleet needs from this machine, and of one that runs its plans, a sentence each."""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from haas_cli.commands import metrics
from haas_cli.errors import CliError, Exit, FleetError
from haas_cli.fleet import envoy
from haas_cli.fleet.home import Home
from haas_cli.fleet.parts import choose_ports, embedded_postgres, embedded_valkey, replicas
from haas_cli.fleet.process import Command, spawn, unprivileged
from haas_cli.fleet.state import is_running, read

_DISK_MIB, _MEMORY_MIB = 1024, 1024


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found.

    Attributes:
        name: The check.
        ok: Whether the fleet can work with it.
        sentence: What was found, and what to do about it.
    """

    name: str
    ok: bool
    sentence: str


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(as_json: bool) -> int:
    """Check platform, disk, memory, ports, rights and binaries. Exit status 1 when something is missing."""
    home = Home.from_env()
    findings = [_checked(name, check, home) for name, check in CHECKS.items()]
    healthy = all(finding.ok for finding in findings)
    if as_json:
        click.echo(json.dumps({"ok": healthy, "checks": [asdict(finding) for finding in findings]}, indent=1))
    else:
        for finding in findings:
            click.echo(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.name:<10} {finding.sentence}")
    return int(Exit.OK if healthy else Exit.FAILED)


def _checked(name: str, check: Callable[[Home], str], home: Home) -> Finding:
    try:
        return Finding(name, True, check(home))
    except CliError as error:
        return Finding(name, False, error.message)


def _platform(_: Home) -> str:
    machine, system, library = platform.machine(), platform.system(), platform.libc_ver()
    if (system, machine, library[0]) != ("Linux", "x86_64", "glibc"):
        raise FleetError(f"HAAS runs on x86-64 Linux with glibc; this is {machine} {system} {library[0]}.")
    return f"x86-64 Linux, glibc {library[1]}, Python {platform.python_version()}."


def _binaries(home: Home) -> str:
    envoy.binary()
    for build in (embedded_valkey(home).command, embedded_postgres(home).command):
        program = build().argv[0]
        if not program.startswith("/mnt/") and not os.access(program, os.X_OK):
            raise FleetError(f"{program} cannot be run: run `make setup`.")
    return "Envoy, PostgreSQL and Valkey are installed."


def _disk(home: Home) -> str:
    place = next(path for path in (home.root, *home.root.parents) if path.exists())
    free = shutil.disk_usage(place).free // 1024**2
    if free < _DISK_MIB:
        raise FleetError(f"The disk of {place} has {free} MiB free; the fleet needs {_DISK_MIB} MiB: free some space.")
    return f"{free} MiB free."


def _memory(_: Home) -> str:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) // 1024
            break
    else:
        raise FleetError("/proc/meminfo does not say how much memory is available.")
    if available < _MEMORY_MIB:
        raise FleetError(f"{available} MiB of memory are available; the fleet needs {_MEMORY_MIB} MiB.")
    return f"{available} MiB available."


def _port(home: Home) -> str:
    if is_running(home):
        return f"The fleet runs and holds port {read(home).edge_port}."
    return f"Port {choose_ports().edge} is free."


def _state(home: Home) -> str:
    home.make()
    if not os.access(home.root, os.W_OK | os.X_OK):
        raise FleetError(f"The state folder {home.root} belongs to another user.")
    return f"The state lies in {home.root}."


def _user(home: Home) -> str:
    """PostgreSQL's user: as root, becomes another one, as the fleet would."""
    identity = unprivileged()
    if identity is None:
        return f"PostgreSQL runs as user id {os.geteuid()}."
    program = "/bin/true"
    probe = spawn(Command((program,), Path("/"), {}, identity, ((home.log, "log"),)), stdout=subprocess.PIPE)
    said = probe.communicate()[0].decode(errors="replace").strip()
    if probe.returncode != 0:
        raise FleetError(said or f"PostgreSQL cannot run as user id {identity.uid}.")
    return f"PostgreSQL runs as user id {identity.uid}, in private mounts where that is needed."


def _plans(home: Home) -> str:
    """Of a fleet that runs: whether every plan can be decided."""
    if not is_running(home):
        return "No fleet runs here."
    number = 0.0
    for part in replicas("planner", read(home).parts):
        told = metrics.samples(metrics.told(home, part))
        number += sum(float(str(one["value"])) for one in told if one["name"] == "haas_planner_quarantined")
    if number:
        are = "plan is" if number == 1 else "plans are"
        raise FleetError(f"{number:.0f} {are} quarantined: log/planner.log says which and why.")
    return "No plan is quarantined."


def _setup(_: Home) -> str:
    stamp = Path(sys.prefix) / "haas-setup"
    if not stamp.is_file() or stamp.with_name("haas-setup.unfinished").exists():
        raise FleetError(f"The set-up of {sys.prefix} is not finished: run `make setup`.")
    return f"The packages of {sys.prefix} are the locked ones."


CHECKS: dict[str, Callable[[Home], str]] = {
    "platform": _platform,
    "setup": _setup,
    "binaries": _binaries,
    "disk": _disk,
    "memory": _memory,
    "state": _state,
    "user": _user,
    "port": _port,
    "plans": _plans,
}
