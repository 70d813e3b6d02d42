"""Becomes an unprivileged user and runs a command, inside private mounts when its files are out of that user's reach.

PostgreSQL refuses to run as root. Its files may lie below a home that only root may enter (/root/checkout), so the
directories it needs are bind-mounted below a tmpfs on /mnt that exists in this process's mount namespace only.

A program of its own (standard library only, run as `python -I -S confine.py …`) and no function before exec: mounting
needs more calls than are safe between fork and exec, and an error must reach the user as a sentence.
"""

import ctypes
import os
import sys

REFUSED = 77
"""Exit status when the system does not allow private mounts."""

_CLONE_NEWNS = 0x00020000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x2, 0x4, 0x1000, 0x4000, 0x40000
_PR_SET_PDEATHSIG = 1

MOUNT_ROOT = "/mnt"

_libc = ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> None:
    """Runs `UID GID DEATH_SIGNAL PARENT_PID SOURCE=NAME… -- COMMAND…`; never returns.

    Args:
        arguments: SOURCE=NAME bind-mounts the directory SOURCE at `/mnt/NAME`.
    """
    split = arguments.index("--")
    uid, gid, death_signal, parent = (int(text) for text in arguments[:4])
    binds = [tuple(text.rsplit("=", 1)) for text in arguments[4:split]]
    command = arguments[split + 1 :]
    try:
        if binds:
            _mount_privately(binds)
        os.chdir(MOUNT_ROOT if binds else "/")
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    except OSError as error:
        sys.stderr.write(
            f"PostgreSQL does not run as root, and this system does not let user id {uid} run it inside private mounts"
            f" ({error.strerror}): run haas as an ordinary user, or move the checkout to where every user may enter.\n"
        )
        sys.exit(REFUSED)
    # After the change of user, which clears it.
    _libc.prctl(_PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:
        sys.exit(0)
    os.execv(command[0], command)


def _mount_privately(binds: list[tuple[str, ...]]) -> None:
    _check(_libc.unshare(_CLONE_NEWNS))
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", MOUNT_ROOT, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=0755,size=64k")
    for source, name in binds:
        target = os.path.join(MOUNT_ROOT, name)
        os.makedirs(target, mode=0o755)
        _mount(source, target, None, _MS_BIND | _MS_REC)


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    _check(_libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3]))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main(sys.argv[1:])
