"""Tenants of a running fleet as its users see them: REST by httpx and native gRPC, both through the edge."""

import json
import secrets
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import yaml

from haas_cli import remote
from haas_common.artifacts import file as artifact_file
from haas_common.auth import Issuer
from tests.support.cli import Cli

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CALL_S = 30.0
#: How long a stream may be silent before a test gives up (a keep-alive comes every 15 s).
STREAM_S = 40.0
ENDS = ("PLAN_STATE_COMPLETED", "PLAN_STATE_FAILED", "PLAN_STATE_CANCELLED")


@dataclass(frozen=True, slots=True)
class Frame:
    """A server-sent event."""

    event: str
    data: dict[str, Any]
    id: int | None


def frames_of(response: httpx.Response) -> Iterator[Frame]:
    """Reads server-sent events; comments and `retry:` are left out."""
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "event" in fields:
            yield Frame(fields["event"], json.loads(fields["data"]), int(fields["id"]) if "id" in fields else None)
            fields = {}
        else:
            fields = {}


class Edge:
    """The public address of a fleet, and who may issue tokens for it."""

    def __init__(self, cli: Cli) -> None:
        self.home = cli.home
        address = remote.local_address(cli.home)
        self.url, self.host = address.url, address.host
        self.ca = cli.home.secrets / "edge" / "ca.pem"
        self._tls = ssl.create_default_context(cafile=str(self.ca))
        self.issuer = Issuer(cli.home.secrets / "gateway" / "token.pem", "gw")
        self._opened: list[App] = []

    def __enter__(self) -> "Edge":
        return self

    def __exit__(self, *_: object) -> None:
        for app in self._opened:
            app.client.close()

    def app(self, tenant: str, project: str) -> "App":
        """A tenant's project that is there already."""
        self._opened.append(App(self, tenant, project))
        return self._opened[-1]

    def rest(self, token: str = "", timeout_s: float = CALL_S) -> httpx.Client:
        """A REST client."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.url, verify=self._tls, headers=headers, timeout=timeout_s)

    def channel(self) -> grpc.Channel:
        """A gRPC channel of its own connection."""
        credentials = grpc.ssl_channel_credentials(self.ca.read_bytes())
        return grpc.secure_channel(self.host, credentials, options=(("grpc.use_local_subchannel_pool", 1),))

    def operator(self) -> httpx.Client:
        """The operator's REST client."""
        return self.rest(remote.operator_token(self.home))

    def token(
        self, tenant: str, projects: Sequence[str], role: str = "admin", agents: Sequence[str] = (), **more: Any
    ) -> str:
        """A token, signed with the fleet's own key."""
        given = {"subject": "ana", **more}
        return self.issuer.issue(
            tenant_id=tenant, projects=tuple(projects), roles=[role], agents=tuple(agents), **given
        ).token

    def make(self, prefix: str, project: str = "p-main") -> "App":
        """Makes a tenant with one empty project, under an id that no other test has."""
        tenant = f"t-{prefix}-{secrets.token_hex(4)}"
        with self.operator() as client:
            made = client.post("/v1/tenants", json={"tenant_id": tenant, "project_id": project})
        assert made.status_code == 200, made.text
        return self.app(tenant, project)

    def example(self, name: str) -> "App":
        """Makes a tenant with everything that examples/<name> has: profile, documents, inputs."""
        folder = EXAMPLES / name
        described = yaml.safe_load((folder / "tenant.yaml").read_text())
        app = self.make(name, described["project_id"])
        app.put_profile((folder / "profile.yaml").read_text())
        for document in sorted((folder / "docs").iterdir()):
            app.put_document(document.name, document.read_text())
        app.objective = (folder / "objective.txt").read_text().strip()
        for slot, file in described["inputs"].items():
            app.inputs[slot] = app.upload(file, (folder / file).read_bytes())["ref"]
        return app


class App:
    """One tenant's project, by REST as its admin.

    Attributes:
        inputs: name → reference, for `create`.
        objective: what `create` asks for unless told otherwise.
    """

    def __init__(self, edge: Edge, tenant: str, project: str) -> None:
        self.edge, self.tenant, self.project = edge, tenant, project
        self.scope = {"tenant_id": tenant, "project_id": project}
        self.token = edge.token(tenant, [project])
        self.client = edge.rest(self.token)
        self.inputs: dict[str, Any] = {}
        self.objective = ""

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        """Reads; it must succeed."""
        found = self.client.get(path, params={**self.scope, **params})
        assert found.status_code == 200, found.text
        return found.json()

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        """Calls; it must succeed."""
        done = self.client.post(path, json={**self.scope, **body})
        assert done.status_code == 200, done.text
        return done.json()

    def put_profile(self, text: str) -> None:
        """Publishes a profile."""
        profile_id = yaml.safe_load(text)["profile_id"]
        done = self.client.put(f"/v1/profiles/{profile_id}", json={**self.scope, "yaml": text})
        assert done.status_code == 200, done.text

    def put_document(self, name: str, text: str) -> None:
        """Keeps a document."""
        done = self.client.put(f"/v1/documents/{name}", json={**self.scope, "text": text})
        assert done.status_code == 200, done.text

    def upload(self, name: str, content: bytes, **params: Any) -> dict[str, Any]:
        """Keeps an input."""
        done = self.client.put("/v1/inputs", params={**self.scope, "name": name, **params}, content=content)
        assert done.status_code == 200, done.text
        return done.json()

    def create(self, objective: str = "", **more: Any) -> dict[str, Any]:
        """Creates a plan."""
        wanted = {"objective": objective or self.objective, "inputs": self.inputs, **more}
        return self.post("/v1/plans:create", **wanted)

    def run(self, plan_id: str) -> dict[str, Any]:
        """Runs a plan."""
        return self.post(f"/v1/plans/{plan_id}:run")

    def status(self, plan_id: str) -> dict[str, Any]:
        """Where a plan stands."""
        return self.get(f"/v1/plans/{plan_id}/status")

    @contextmanager
    def stream(self, path: str, last: int | None = None, token: str = "") -> Iterator[Iterator[Frame]]:
        """Opens a stream of server-sent events."""
        headers = {} if last is None else {"last-event-id": str(last)}
        with (
            self.edge.rest(token or self.token, STREAM_S) as client,
            client.stream("GET", path, params=self.scope, headers=headers) as response,
        ):
            assert response.status_code == 200, response.read()
            assert response.headers["content-type"] == "text/event-stream"
            yield frames_of(response)

    def finish(self, plan_id: str, last: int | None = None) -> list[Frame]:
        """Follows a plan to its end; returns every frame, the last one being `end`."""
        with self.stream(f"/v1/plans/{plan_id}/events", last) as frames:
            seen = list(frames)
        assert seen[-1].event == "end", seen[-1]
        return seen

    def job(self, objective: str = "", **more: Any) -> "Done":
        """Creates, runs and follows a plan to its end."""
        created = self.create(objective, **more)
        self.run(created["plan_id"])
        self.finish(created["plan_id"])
        return Done.of(self, created)

    def events(self, plan_id: str = "") -> list[dict[str, Any]]:
        """The project's whole history, or a plan's."""
        found: list[dict[str, Any]] = []
        more, after = True, 0
        while more:
            page = self.get("/v1/events", plan_id=plan_id, from_seq=after, page_size=1000)
            found += page["events"]
            more, after = page.get("more", False), int(page["next_seq"])
        return found

    def artifacts(self, plan_id: str) -> list[dict[str, Any]]:
        """A plan's artifacts, by id."""
        return self.get("/v1/artifacts", plan_id=plan_id, page_size=500)["artifacts"]


@dataclass(frozen=True)
class Done:
    """A plan that has ended.

    Attributes:
        status: GetPlanStatus.
        documents: the artifacts by path, as they are stored.
        artifacts: their facts by path.
    """

    app: App
    created: Mapping[str, Any]
    status: Mapping[str, Any]
    documents: Mapping[str, artifact_file.Document]
    artifacts: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, app: App, created: Mapping[str, Any]) -> "Done":
        """Reads what a plan has made."""
        plan_id = created["plan_id"]
        facts = {a["path"]: a for a in app.artifacts(plan_id)}
        documents = {
            path: artifact_file.parse(app.get(f"/v1/artifacts/{a['artifact_id']}")["content"].encode())
            for path, a in facts.items()
        }
        return cls(app, created, app.status(plan_id), documents, facts)

    @property
    def plan_id(self) -> str:
        """Its id."""
        return str(self.created["plan_id"])

    def of_type(self, type_: str) -> list[artifact_file.Document]:
        """The documents of a type."""
        return [self.documents[path] for path, a in self.artifacts.items() if a["type"] == type_]
