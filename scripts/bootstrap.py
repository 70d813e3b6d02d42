#!/usr/bin/env python3
"""Sets the checkout up: a virtual environment in .venv with the locked packages and the project itself.

Usage: bootstrap.py server|dev. Standard library only, and it starts on any Python 3.6+, so that a machine that lacks
something hears one sentence about it. A finished set-up is skipped by a stamp; an interrupted one is made anew.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
VENV_PYTHON = os.path.join(VENV, "bin", "python")
STAMP = os.path.join(VENV, "haas-setup")
UNFINISHED = os.path.join(VENV, "haas-setup.unfinished")
# Each lock and what it also provides.
LOCKS = {"server": ("server", "dev"), "dev": ("dev",)}
OLDEST = (3, 11)
CANDIDATES = ("python3", "python3.11", "python3.12", "python3.13", "python3.14")
DISK_BYTES = 2 * 1024**3


class SetupError(Exception):
    """Why the set-up cannot go on, in one sentence that says what to do."""


def main(arguments):
    """Runs the set-up; returns the exit status."""
    if len(arguments) != 1 or arguments[0] not in LOCKS:
        print("usage: bootstrap.py server|dev", file=sys.stderr)
        return 2
    kind = arguments[0]
    try:
        if is_done(kind):
            return 0
        check_platform()
        # Two set-ups of one checkout take turns; the kernel drops the lock of one that was killed.
        lock = os.open(ROOT, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_done(kind):
            set_up(kind)
    except SetupError as error:
        print("set-up: " + str(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("set-up: interrupted; the next run starts it anew.", file=sys.stderr)
        return 130
    return 0


def check_platform():
    """Refuses what the locked wheels do not run on."""
    machine, system = platform.machine(), platform.system()
    if system != "Linux" or machine not in ("x86_64", "AMD64"):
        raise SetupError(f"HAAS runs on x86-64 Linux; this machine is {machine} {system}.")
    if platform.libc_ver()[0] != "glibc":
        raise SetupError("HAAS needs a Linux with glibc (Debian 12+, Ubuntu 24.04+); this one has another C library.")
    if sys.maxsize < 2**32:
        raise SetupError("HAAS needs a 64-bit Python; this one is a 32-bit build.")


def stamp(kind):
    """Returns what the stamp of a finished set-up reads: a hash of everything the set-up is made from."""
    digest = hashlib.sha256()
    for name in (f"requirements/{kind}.lock", "pyproject.toml", "scripts/bootstrap.py"):
        with open(os.path.join(ROOT, name), "rb") as file:
            digest.update(file.read() + b"\0")
    # Names the interpreter's version and folder, and so tells a moved checkout too.
    with open(os.path.join(VENV, "pyvenv.cfg"), "rb") as file:
        digest.update(file.read() + VENV.encode())
    return kind + " " + digest.hexdigest()


def is_done(kind):
    """Tells whether this set-up, or one that includes it, is finished and its interpreter still there."""
    try:
        with open(STAMP) as file:
            found = file.read().split("\n")
        whole = os.access(VENV_PYTHON, os.X_OK) and os.access(os.path.join(VENV, "bin", "haas"), os.X_OK)
        return whole and any(stamp(provider) in found for provider in LOCKS[kind])
    except (FileNotFoundError, NotADirectoryError):
        return False


def set_up(kind):
    """Makes the virtual environment when it is missing or broken, and installs."""
    free = shutil.disk_usage(ROOT).free
    if free < DISK_BYTES:
        raise SetupError(
            f"the disk has {free // 1024**2} MiB free, HAAS needs 2048 MiB: free some space and try again."
        )
    if not is_usable():
        make_venv(find_python())
    print(f"set-up: installing the packages of requirements/{kind}.lock", flush=True)
    open(UNFINISHED, "w").close()
    pip("--require-hashes", "--no-deps", "--no-compile", "-r", os.path.join("requirements", kind + ".lock"))
    pip("--no-deps", "--no-compile", "--no-build-isolation", "--editable", ".")
    compile_packages()
    previous = open(STAMP).read() if os.path.exists(STAMP) else ""
    fresh = STAMP + ".new"
    with open(fresh, "w") as file:
        kept = [line for line in previous.split("\n") if line and not line.startswith(kind + " ")]
        file.write("\n".join([*kept, stamp(kind)]) + "\n")
    os.replace(fresh, STAMP)
    os.remove(UNFINISHED)
    print("set-up: done", flush=True)


def is_usable():
    """Tells whether the environment can be installed into: whole, of this path, and not left half-way."""
    if os.path.exists(UNFINISHED) or not os.access(VENV_PYTHON, os.X_OK):
        return False
    probe = "import pip, sys; sys.exit(sys.prefix != {!r} or sys.version_info < {!r})".format(VENV, OLDEST)
    return subprocess.run([VENV_PYTHON, "-c", probe], stderr=subprocess.DEVNULL, env=environment()).returncode == 0


def find_python():
    """Returns the path of a Python that is new enough and can make virtual environments."""
    versions, lacking = [], None
    for name in CANDIDATES:
        path = shutil.which(name)
        if path is None:
            continue
        probe = "import sys; print(sys.version_info[0], sys.version_info[1], sys.executable)"
        answer = subprocess.run(
            [path, "-c", probe], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment()
        )
        words = answer.stdout.decode().split(None, 2)
        if answer.returncode != 0 or len(words) != 3:
            continue
        version, executable = (int(words[0]), int(words[1])), words[2].strip()
        versions.append("{}.{}".format(*version))
        if version < OLDEST:
            continue
        if subprocess.run([executable, "-c", "import venv, ensurepip"], stderr=subprocess.DEVNULL).returncode == 0:
            return executable
        lacking = "{}.{}".format(*version)
    if lacking:
        raise SetupError(
            f"Python {lacking} lacks its venv module: apt-get install python3-venv (or python{lacking}-venv)."
        )
    found = "found " + ", ".join(sorted(set(versions))) if versions else "found none"
    raise SetupError(f"HAAS needs Python 3.11 or newer ({found}): apt-get install python3 python3-venv.")


def make_venv(python):
    """Makes .venv anew, in place of whatever is there."""
    print(f"set-up: making .venv with {python}", flush=True)
    if os.path.islink(VENV):
        os.remove(VENV)
    elif os.path.isdir(VENV):
        shutil.rmtree(VENV)
    made = subprocess.run(
        [python, "-m", "venv", VENV], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment()
    )
    if made.returncode != 0:
        last = made.stdout.decode(errors="replace").strip().split("\n")[-1]
        raise SetupError(f"{python} could not make a virtual environment in .venv: {last}")


def pip(*arguments):
    """Installs; pip's own settings (PIP_*, pip.conf: mirrors, certificates, wheels on disk) stay in force."""
    command = [VENV_PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", *arguments]
    if subprocess.run(command, cwd=ROOT, env=environment()).returncode != 0:
        raise SetupError("pip could not install the locked packages; its last lines above say why.")


def compile_packages():
    """Compiles to bytecode on all cores; pip would do it on one."""
    command = [VENV_PYTHON, "-m", "compileall", "-q", "-j", "0", "-x", r"/(tests?|bad_\w+)/", os.path.join(VENV, "lib")]
    subprocess.run(command, stdout=subprocess.DEVNULL, env=environment())


def environment():
    """Returns the environment without what would lead Python or pip out of .venv."""
    kept = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }
    kept["PIP_USER"] = "0"
    return kept


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
