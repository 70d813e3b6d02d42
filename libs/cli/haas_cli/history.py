"""A tenant's history as the fleet has it, read with an auditor's token: a Source of haas_common.audit.verify."""

import base64
import datetime
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from haas.gateway.v1 import identity_pb2, identity_pb2_grpc
from haas.orchestrator.v1 import audit_pb2, audit_pb2_grpc, privacy_pb2, privacy_pb2_grpc
from haas_cli import api, remote
from haas_cli.errors import NotFound, UsageError
from haas_cli.fleet.home import Home
from haas_common.audit.data_keys import DataKey
from haas_common.audit.rows import lines_of

CALL_S, SIGN_S, STREAM_S = 15.0, 30.0, 3600.0
SUBJECT = "auditor@cli"
KEYS_SUBJECT = "owner@cli"
#: A token lives 15 minutes; a long export asks for the next one before it ends.
_RENEW_S = 600.0


class FleetHistory:
    """The histories of one tenant over the API. Errors leave as grpc.RpcError; see `opened`."""

    def __init__(self, channel: grpc.Channel, tenant_id: str, project_id: str, token: Callable[[], str]) -> None:
        """Takes the tenant, a project that the token holds, and what gives a token that is valid now."""
        self.tenant_id = tenant_id
        self._project_id = project_id
        self._token = token
        self._stub = audit_pb2_grpc.AuditStub(channel)

    def heads(self) -> list[audit_pb2.HistoryHead]:
        """Returns how far each project goes, the tenant's own first."""
        found: list[audit_pb2.HistoryHead] = []
        while True:
            after = found[-1].project_id if found else ""
            request = audit_pb2.ListHistoriesRequest(**self._scope(), after=after)
            page = self._stub.ListHistories(request, timeout=CALL_S, metadata=self._metadata()).histories
            if not page:
                return found
            found += page

    def projects(self) -> list[str]:
        """Returns the projects that have events."""
        return [head.project_id for head in self.heads()]

    def blocks(self, project_id: str) -> Iterator[bytes]:
        """Yields a project's events as bytes of lines, as they come."""
        request = audit_pb2.ExportHistoryRequest(**self._scope(), of_project_id=project_id)
        for answer in self._stub.ExportHistory(request, timeout=STREAM_S, metadata=self._metadata()):
            yield answer.lines

    def events(self, project_id: str) -> Iterator[list[str]]:
        """Yields a project's events as lines."""
        return lines_of(self.blocks(project_id))

    def blob(self, project_id: str, ref: str) -> bytes | None:
        """Returns the bytes of an address; None where the fleet has none."""
        request = audit_pb2.ExportBlobRequest(**self._scope(), of_project_id=project_id, ref=ref)
        try:
            answers = self._stub.ExportBlob(request, timeout=60.0, metadata=self._metadata())
            return b"".join(answer.data for answer in answers)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:  # type: ignore[attr-defined]
                return None
            raise

    def checkpoints(self, limit: int) -> list[audit_pb2.Checkpoint]:
        """Returns the newest checkpoints."""
        request = audit_pb2.ListCheckpointsRequest(**self._scope(), page_size=limit)
        return list(self._stub.ListCheckpoints(request, timeout=CALL_S, metadata=self._metadata()).checkpoints)

    def sign(self) -> audit_pb2.SignCheckpointResponse:
        """Has the fleet sign a checkpoint now."""
        request = audit_pb2.SignCheckpointRequest(**self._scope())
        return self._stub.SignCheckpoint(request, timeout=SIGN_S, metadata=self._metadata())

    def keys(self) -> list[dict[str, Any]]:
        """Returns the fleet's public keys, as fleet-keys.json has them."""
        request = audit_pb2.ListFleetKeysRequest(**self._scope())
        found = self._stub.ListFleetKeys(request, timeout=CALL_S, metadata=self._metadata()).keys
        return [
            {
                "kid": key.kid,
                "use": key.use,
                "public": key.public,
                "created_at": key.create_time.ToJsonString(),
                "retired_at": key.retire_time.ToJsonString() if key.HasField("retire_time") else None,
            }
            for key in found
        ]

    def _scope(self) -> dict[str, str]:
        return {"tenant_id": self.tenant_id, "project_id": self._project_id}

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return remote.authorization(self._token())


@contextmanager
def opened(tenant_id: str, project_id: str = "") -> Iterator[FleetHistory]:
    """Yields a tenant's histories, with HAAS_TOKEN or, on the fleet's machine, a token of its own.

    Args:
        tenant_id: whose.
        project_id: one that the token holds; unless given HAAS_PROJECT, or the tenant's first.

    Raises:
        CliError: see haas_cli.remote.channel.
    """
    home, given = Home.from_env(), os.environ.get("HAAS_TOKEN", "").strip()
    project_id = project_id or os.environ.get("HAAS_PROJECT", "").strip()
    if given and not project_id:
        raise UsageError("HAAS_TOKEN opens a project: say which in HAAS_PROJECT.")
    if not project_id:
        with api.operator() as client:
            project_id = next((p.project_id for p in client.list_projects(tenant_id)), "")
    if not project_id:
        raise NotFound(f"The tenant {tenant_id} has no project.")
    with remote.channel(remote.address(home) if given else remote.local_address(home)) as channel:
        yield FleetHistory(channel, tenant_id, project_id, _tokens(home, channel, given, tenant_id, project_id))


def data_keys(tenant_id: str, project_id: str) -> list[DataKey]:
    """Returns a project's living keys of personal data, as the fleet's owner on its machine; the history says so.

    Raises:
        CliError: see haas_cli.remote.channel.
    """
    home, found = Home.from_env(), list[DataKey]()
    issued = remote.issue_token(home, tenant=tenant_id, project=project_id, subject=KEYS_SUBJECT, role="admin")
    request = privacy_pb2.ExportDataKeysRequest(tenant_id=tenant_id, project_id=project_id)
    with remote.channel(remote.local_address(home)) as channel:
        stub = privacy_pb2_grpc.PrivacyStub(channel)
        while True:
            page = stub.ExportDataKeys(request, timeout=CALL_S, metadata=remote.authorization(issued.token))
            found += [
                DataKey(project_id, one.key_id, one.subject, one.create_time.ToDatetime(datetime.UTC), one.key)
                for one in page.keys
            ]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token


def _tokens(home: Home, channel: grpc.Channel, given: str, tenant_id: str, project_id: str) -> Callable[[], str]:
    """Returns what gives a token; it is renewed, or issued anew, before it ends."""
    token, since = given, time.monotonic()

    def current() -> str:
        nonlocal token, since
        if token and time.monotonic() - since < _RENEW_S:
            return token
        since = time.monotonic()
        if given:
            request = identity_pb2.RenewTokenRequest(tenant_id=tenant_id, project_id=project_id)
            stub = identity_pb2_grpc.IdentityStub(channel)
            token = stub.RenewToken(request, timeout=CALL_S, metadata=remote.authorization(token)).token
        else:
            issued = remote.issue_token(home, tenant=tenant_id, project=project_id, subject=SUBJECT, role="auditor")
            token = issued.token
        return token

    return current


def fingerprint(public: str) -> str:
    """Returns what to compare by telephone: the SHA-256 of a public key, in groups of four digits."""
    digits = hashlib.sha256(base64.b64decode(public)).hexdigest()
    return " ".join(digits[at : at + 4] for at in range(0, 64, 4))
