"""Runs inside the sandbox, before the program: takes away every right it does not need, then runs it in this process.

Read as text by the runner and executed by `python -I -S`; only the standard library exists here. The order matters:
identity first (needs capabilities), then limits, then Landlock and seccomp (neither can be undone). Any failure before
the program ends the process with EXIT_GUARD: a program never runs half guarded.
"""

import ctypes
import json
import os
import resource
import sys
import types

EXIT_PROGRAM, EXIT_MEMORY, EXIT_GUARD = 70, 71, 72

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
_SECCOMP_MODE_FILTER = 2
_LANDLOCK_CREATE, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT = 444, 445, 446
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_SIGKILL = 9

_libc = ctypes.CDLL(None, use_errno=True)


class _RulesetAttributes(ctypes.Structure):
    _fields_ = [("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _PathRule(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("parent_fd", ctypes.c_int32)]


class _Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]


def _checked(result, what):
    if result < 0:
        raise OSError(ctypes.get_errno(), what)
    return result


def _prctl(option, value, extra=None):
    _checked(_libc.prctl(option, ctypes.c_ulong(value), ctypes.c_void_p(extra), 0, 0), "prctl")


def drop_identity(uid):
    """Becomes `uid` for good, and dies with the process that started it."""
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    if os.getuid() == 0 or os.geteuid() == 0:
        raise OSError("still root")
    # After the change of identity, which clears it.
    _prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    os.umask(0o077)


def set_limits(limits):
    """Sets soft and hard limits, by the names of `resource`."""
    for name, pair in limits.items():
        resource.setrlimit(getattr(resource, name), tuple(pair))


def restrict_files(readable):
    """Landlock: only `readable` can be opened, for reading; no TCP, no abstract sockets, no signals outside."""
    version = _checked(_libc.syscall(_LANDLOCK_CREATE, None, 0, 1), "landlock version")
    rights = (
        0x1FFF | (1 << 13 if version >= 2 else 0) | (1 << 14 if version >= 3 else 0) | (1 << 15 if version >= 5 else 0)
    )
    attributes = _RulesetAttributes(rights, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _checked(_libc.syscall(_LANDLOCK_CREATE, ctypes.byref(attributes), size, 0), "landlock ruleset")
    for path in readable:
        if not os.path.exists(path):
            continue
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        allowed = _READ_FILE | (_READ_DIR if os.path.isdir(path) else 0)
        rule = _PathRule(allowed, descriptor)
        _checked(_libc.syscall(_LANDLOCK_ADD_RULE, ruleset, 1, ctypes.byref(rule), 0), "landlock rule")
        os.close(descriptor)
    _checked(_libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0), "landlock restrict")
    os.close(ruleset)


def restrict_calls(code):
    """Installs the system call filter, for good."""
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Filter(len(code) // 8, ctypes.addressof(buffer))
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(program))


def install_modules(sources):
    """Makes shared modules importable by their own names, without a file behind them."""
    for name, source in sources.items():
        package = name.rpartition(".")[0]
        if package and package not in sys.modules:
            sys.modules[package] = types.ModuleType(package)
            sys.modules[package].__path__ = []
        module = types.ModuleType(name)
        sys.modules[name] = module
        exec(compile(source, f"<{name}>", "exec"), module.__dict__)  # noqa: S102 - what this file is for


def run_program(spec):
    """Runs the program as `__main__` and ends the process with its exit code."""
    try:
        install_modules(spec["modules"])
        main = types.ModuleType("__main__")
        sys.modules["__main__"] = main
        exec(compile(spec["program"], "<program>", "exec"), main.__dict__)  # noqa: S102
        sys.stdout.flush()
    except MemoryError:
        # Nothing may be allocated here any more.
        os._exit(EXIT_MEMORY)
    except SystemExit as exit_request:
        sys.stdout.flush()
        os._exit(exit_request.code if isinstance(exit_request.code, int) else EXIT_PROGRAM)
    except BaseException:  # noqa: BLE001 - the process ends here, whatever it was
        sys.excepthook(*sys.exc_info())
        os._exit(EXIT_PROGRAM)
    os._exit(0)


def main(spec):
    """Gives up every right, then runs the program."""
    try:
        os.closerange(3, 256)
        if spec["work"]:
            os.chdir(spec["work"])
        drop_identity(spec["uid"])
        set_limits(spec["rlimits"])
        if spec["readable"] is not None:
            restrict_files(spec["readable"])
        restrict_calls(bytes.fromhex(spec["seccomp"]))
    except BaseException as error:  # noqa: BLE001 - fail closed, whatever it was
        sys.stderr.write(f"guard: {type(error).__name__}: {error}\n")
        sys.stderr.flush()
        os._exit(EXIT_GUARD)
    run_program(spec)


main(json.loads(SPECIFICATION))  # noqa: F821 - the bootstrap line puts it here
