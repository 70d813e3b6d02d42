"""Webhooks as https://www.standardwebhooks.com signs them, for what sends them to a hook of the fleet's."""

import base64
import binascii
import hashlib
import hmac
import time
import uuid

_SECRET = "whsec_"  # noqa: S105 - what every secret begins with


def signed(secret: str, body: bytes, message_id: str = "", at_s: int = 0) -> dict[str, str]:
    """Returns the headers of a webhook.

    Args:
        secret: the hook's, "whsec_…".
        body: exactly what is sent.
        message_id: of the message; the same when it is sent again. Made up unless given.
        at_s: when it is signed, in seconds of the epoch; now unless given.

    Raises:
        ValueError: the secret is none.
    """
    if not secret.startswith(_SECRET):
        raise ValueError("A hook's secret begins with whsec_.")
    try:
        key = base64.b64decode(secret.removeprefix(_SECRET), validate=True)
    except binascii.Error:
        raise ValueError("A hook's secret is whsec_ and base64.") from None
    message_id, at_s = message_id or f"msg_{uuid.uuid4().hex}", at_s or int(time.time())
    mac = hmac.new(key, f"{message_id}.{at_s}.".encode() + body, hashlib.sha256)
    signature = base64.b64encode(mac.digest()).decode()
    return {"webhook-id": message_id, "webhook-timestamp": str(at_s), "webhook-signature": f"v1,{signature}"}
