"""One child process on the event loop: started without a Python fork, read with a cap, killed when the caller goes."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

_CHUNK_BYTES = 1 << 16
_STDERR_BYTES_MAX = 1 << 14


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended: its return code (negative: a signal), its output, whether the output was cut."""

    returncode: int
    stdout: bytes
    stderr: bytes
    cut: bool
    duration_ms: int


def sealed_file(content: bytes) -> int:
    """Returns a descriptor of an anonymous file with this content, readable by any uid that inherits it."""
    descriptor = os.memfd_create("input", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
        os.lseek(descriptor, 0, os.SEEK_SET)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


class _Stream:
    """Reads a pipe to its end through the loop; stops and reports `cut` when more than `limit` bytes came."""

    def __init__(self, descriptor: int, limit: int, on_cut: asyncio.Event | None) -> None:
        self.content = bytearray()
        self.cut = False
        self.ended = asyncio.Event()
        self._descriptor = descriptor
        self._limit = limit
        self._on_cut = on_cut
        self._loop = asyncio.get_running_loop()
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self._read)

    def _read(self) -> None:
        try:
            chunk = os.read(self._descriptor, _CHUNK_BYTES)
        except BlockingIOError:
            return
        room = self._limit - len(self.content)
        self.content += chunk[:room]
        if len(chunk) > room:
            self.cut = True
            if self._on_cut is not None:
                self._on_cut.set()
        if not chunk:
            self.close()

    def close(self) -> None:
        if not self.ended.is_set():
            self._loop.remove_reader(self._descriptor)
            self.ended.set()


async def run_child(command: Sequence[str], stdin_fd: int, pass_fds: Sequence[int], output_bytes: int) -> Ended:
    """Runs a command to its end; an output above `output_bytes` kills it, and so does the caller's cancellation.

    The start is subprocess's vfork + exec in C, on the loop's own thread: no Python code runs between the two (grpc's
    threads may hold any lock), and the parent-death signal that children set hangs on this thread, which lives as long
    as the service. uvloop's own subprocess does run Python after its fork, so it is not used.
    """
    started = time.monotonic()
    process = subprocess.Popen(  # noqa: ASYNC220 - see above: about a millisecond, and on this thread on purpose
        command,
        stdin=stdin_fd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        pass_fds=pass_fds,
        env={},
        cwd="/",
        start_new_session=True,
    )
    with process:
        pidfd = os.pidfd_open(process.pid)
        changed, exited = asyncio.Event(), asyncio.Event()
        stdout = _Stream(process.stdout.fileno(), output_bytes, changed)
        stderr = _Stream(process.stderr.fileno(), _STDERR_BYTES_MAX, None)
        loop = asyncio.get_running_loop()
        loop.add_reader(pidfd, lambda: (loop.remove_reader(pidfd), exited.set(), changed.set()))
        try:
            await changed.wait()
            if not exited.is_set():
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            await exited.wait()
            await stdout.ended.wait()
            await stderr.ended.wait()
        finally:
            if not exited.is_set():
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                loop.remove_reader(pidfd)
            os.close(pidfd)
            stdout.close()
            stderr.close()
    # Leaving the block has waited for it: at once, since it ended by itself or by the signal that nothing can refuse.
    duration_ms = round((time.monotonic() - started) * 1000)
    return Ended(process.returncode, bytes(stdout.content), bytes(stderr.content), stdout.cut, duration_ms)
