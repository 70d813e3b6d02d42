"""Where services announce that they are ready: a NOTIFY_SOCKET (sd_notify(3)) in the abstract namespace."""

import os
import secrets
import socket
import struct

_CREDENTIALS = struct.Struct("3i")


class NoticeSocket:
    """Receives READY=1; the kernel says which process sent it.

    Attributes:
        address: The value of NOTIFY_SOCKET. Abstract, so no path of a deep checkout can be too long for it.
    """

    def __init__(self) -> None:
        """Binds a fresh address."""
        name = f"haas-{os.getpid()}-{secrets.token_hex(8)}"
        self.address = f"@{name}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(f"\0{name}")

    def fileno(self) -> int:
        """Returns the descriptor to wait on."""
        return self._socket.fileno()

    def receive(self) -> list[int]:
        """Returns the process ids that have announced themselves since the last call."""
        announced = []
        while True:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
            except BlockingIOError:
                return announced
            for level, kind, payload in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS and b"READY=1" in data:
                    announced.append(_CREDENTIALS.unpack(payload[: _CREDENTIALS.size])[0])

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()
