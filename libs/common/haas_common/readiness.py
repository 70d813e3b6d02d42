"""Tells whoever started this process that it is ready, by systemd's protocol (sd_notify(3))."""

import os
import socket


def announce_ready() -> None:
    """Sends READY=1 to $NOTIFY_SOCKET; does nothing when no supervisor asked for it.

    The embedded fleet's supervisor and systemd units of `Type=notify` both listen there.

    Raises:
        OSError: The socket is named, but does not take the message.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    # A leading "@" names an abstract socket, which has no path and so no limit of 107 bytes on the checkout's depth.
    target = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.sendto(b"READY=1", target)
