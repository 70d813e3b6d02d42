"""A relay that works off all there is, whatever else runs on the cluster."""

from haas_common.doorbell import Doorbell
from haas_notifier.worker import Relay


async def settled(relay: Relay, doorbell: Doorbell) -> int:
    """Drains until nothing waits; returns how many envelopes were sent.

    Transactions of other databases of the cluster (other tests make theirs) hold the horizon back too.
    """
    sent = await relay.drain()
    with doorbell.bell("events") as bell:
        while await relay.unsettled():
            await bell.wait(0.05)
            sent += await relay.drain()
    return sent
