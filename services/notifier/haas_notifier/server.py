"""The only place that builds and wires the notifier."""

import grpc.aio

from haas.notifier.v1 import notifier_pb2, notifier_pb2_grpc
from haas_common.config import Config
from haas_common.db import Database, Lease
from haas_common.doorbell import Doorbell
from haas_common.history import headroom
from haas_common.leases import LeaseKeeper
from haas_common.server import serve
from haas_notifier.heads import Heads
from haas_notifier.operations import Operations
from haas_notifier.servicer import NotifierServicer
from haas_notifier.worker import LEASE, Relay

SERVICE = notifier_pb2.DESCRIPTOR.services_by_name["Notifier"]


async def main(config: Config) -> None:
    """Serves until it is told to stop. Raises ConfigInvalid, DatabaseUnavailable."""
    database = await Database.of(config)
    doorbell = Doorbell(database)
    heads = Heads(database, doorbell)

    async def work(lease: Lease) -> None:
        if lease.name == headroom.LEASE:
            await headroom.keep_room(database, lease)
        else:
            await Relay(lease, database, doorbell).run()

    keeper = LeaseKeeper(database, config.instance, [LEASE, headroom.LEASE], work)

    def add(server: grpc.aio.Server) -> None:
        notifier_pb2_grpc.add_NotifierServicer_to_server(NotifierServicer(Operations(database, heads)), server)

    async def start() -> None:
        await doorbell.start()
        await heads.start()
        await keeper.start()

    async def stop() -> None:
        await keeper.stop()
        await heads.stop()
        await doorbell.stop()
        await database.close()

    await serve(config, add, [SERVICE], on_start=start, on_stopping=heads.farewell, on_stop=stop)
