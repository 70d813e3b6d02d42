"""The sandbox: runs a Python program with no rights but to compute, or refuses where this machine cannot confine it."""

import asyncio
import json
import logging
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from haas_common.errors import SandboxUnavailable
from haas_mcp.sandbox import guard_exit, rungs, seccomp
from haas_mcp.sandbox.child import Ended, run_child, sealed_file
from haas_mcp.sandbox.limits import GuardFailed, Limits, Output, Program, ProgramFailed, ProgramTimeout

LOG = logging.getLogger(__name__)

# Each tries one thing that must fail inside; the program ends well only when all of them were refused.
_PROBE = """
import csv, decimal, json, re, socket, os, sys
leaks = []
def refused(name, attempt):
    try:
        attempt()
    except OSError:
        return
    leaks.append(name)
refused("socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
refused("unix socket", lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
refused("shadow", lambda: open("/etc/shadow", "rb"))
refused("passwd", lambda: open("/etc/passwd", "rb"))
refused("write", lambda: open("/usr/lib/x", "wb"))
refused("write to root", lambda: open("/x", "wb"))
refused("fork", os.fork)
refused("exec", lambda: os.execv(sys.executable, ["x"]))
refused("signal", lambda: os.kill(os.getppid(), 0))
if 0 in (os.getuid(), os.geteuid(), os.getgid()): leaks.append("root")
if os.environ.keys() - {"LC_CTYPE", "PWD"}: leaks.append("environment")
print(json.dumps(leaks))
"""
_PROBE_LIMITS = Limits(wall_s=10.0, cpu_s=5, memory_bytes=256 << 20)


@dataclass(frozen=True, slots=True)
class _Slot:
    """A place to run in; as root each has its own uid, so that two runs never share one."""

    uid: int | None


class Sandbox:
    """Runs programs on the first rung of the ladder that holds on this machine.

    Built by `open`, which really runs a probe on every rung until one holds. With none, every `run` raises
    SandboxUnavailable: code is never run unconfined.
    """

    def __init__(self, rung: rungs.Rung | None, tried: Sequence[str], slots: int) -> None:
        self._rung = rung
        self._tried = tuple(tried)
        self._guard = rungs.guard_source()
        self._filter = seccomp.build().hex()
        self._slots: asyncio.Queue[_Slot] = asyncio.Queue()
        for number in range(slots):
            self._slots.put_nowait(_Slot(rungs.UID_BASE + number if os.geteuid() == 0 else None))

    @classmethod
    async def open(cls, slots: int = 2, ladder: Sequence[str] = ("bubblewrap", "landlock")) -> "Sandbox":
        """Finds the rung: `ladder` names the ones to try, in order. `slots` is how many programs may run at once."""
        tried: list[str] = []
        for build in (rung for rung in rungs.LADDER if rung.__name__ in ladder):
            for interpreter in rungs.interpreters():
                rung = build(interpreter)
                if rung is None:
                    tried.append(f"{build.__name__}: not installed")
                    break
                sandbox = cls(rung, tried, slots)
                failure = await sandbox._probe()
                if failure is None:
                    return sandbox
                tried.append(f"{rung.name}: {failure}")
        return cls(None, tried, slots)

    def describe(self) -> str:
        """Returns which rung runs programs, for logs and health."""
        if self._rung is None:
            return f"none ({'; '.join(self._tried)})"
        return f"{self._rung.name}+seccomp, {self._rung.interpreter.executable}"

    @property
    def rung(self) -> str:
        """The name of the rung, or "" where programs are refused."""
        return self._rung.name if self._rung else ""

    async def run(self, program: Program, stdin: bytes = b"", limits: Limits | None = None) -> Output:
        """Runs a program with `stdin` as its standard input and returns what it wrote to standard output.

        Raises:
            SandboxUnavailable: no rung holds on this machine.
            ProgramTimeout: the wall-clock limit passed; the program is dead.
            ProgramFailed: it ended with an error or above a limit.
        """
        if self._rung is None:
            # The names of the rungs only: why each failed is for the log (describe), not for a caller.
            raise SandboxUnavailable(tried=", ".join(dict.fromkeys(entry.partition(":")[0] for entry in self._tried)))
        limits = limits or Limits()
        slot = await self._slots.get()
        try:
            async with asyncio.timeout(limits.wall_s):
                ended = await self._start(self._rung, slot, program, stdin, limits)
        except TimeoutError:
            raise ProgramTimeout(limits.wall_s) from None
        except GuardFailed as error:
            LOG.error("the sandbox did not lock itself down: %s", error)
            raise SandboxUnavailable(tried=self._rung.name) from error
        finally:
            self._slots.put_nowait(slot)
        return _judge(ended)

    async def _start(self, rung: rungs.Rung, slot: _Slot, program: Program, stdin: bytes, limits: Limits) -> Ended:
        specification = json.dumps(
            {
                "uid": slot.uid,
                "rlimits": limits.rlimits(),
                "work": rung.work,
                "readable": rung.readable,
                "seccomp": self._filter,
                "modules": program.modules,
                "program": program.source,
            }
        ).encode()
        bundle = b"%d\n%b%b" % (len(specification), specification, self._guard)
        stdin_fd = sealed_file(stdin)
        try:
            bundle_fd = sealed_file(bundle)
            try:
                ended = await run_child(
                    rung.command(bundle_fd, limits.work_bytes), stdin_fd, (bundle_fd,), limits.output_bytes
                )
            finally:
                os.close(bundle_fd)
        finally:
            os.close(stdin_fd)
        if ended.returncode == guard_exit.GUARD or (ended.returncode == 1 and ended.stderr.startswith(b"bwrap: ")):
            raise GuardFailed(ended.stderr.decode(errors="replace").strip()[:300])
        return ended

    async def _probe(self) -> str | None:
        """Returns why the rung does not hold, or None when it does."""
        try:
            output = await self.run(Program(_PROBE, {}), limits=_PROBE_LIMITS)
            leaks = json.loads(output.stdout)
        except (SandboxUnavailable, ProgramFailed, ProgramTimeout, OSError, ValueError) as error:
            cause = error.__cause__ or error
            return f"{type(cause).__name__}: {cause}".replace("\n", " ")[-300:]
        return f"leaks: {', '.join(leaks)}" if leaks else None


def _judge(ended: Ended) -> Output:
    detail = ended.stderr.decode(errors="replace")
    if ended.cut:
        raise ProgramFailed("output", "more output than allowed")
    if ended.returncode == 0:
        return Output(ended.stdout, ended.duration_ms)
    if ended.returncode == guard_exit.MEMORY:
        raise ProgramFailed("memory", "memory limit reached")
    # bubblewrap reports a child's signal as 128 + number, a direct child as the negative number.
    number = ended.returncode - 128 if ended.returncode > 128 else -ended.returncode
    if number == signal.SIGXCPU:
        raise ProgramFailed("cpu", "CPU limit reached")
    if ended.returncode < 0 or ended.returncode > 128:
        raise ProgramFailed("killed", f"signal {number}: {detail}")
    raise ProgramFailed("error", detail)
