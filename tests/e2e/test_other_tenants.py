"""Another tenant's ids in every id field of every public method: the same answer as for what does not exist.

The calls are generated from the contracts; a method or an id field that this file does not know fails the run.
"""

import importlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from haas_common.errors import from_rpc
from haas_gateway.edge.contract import Method, descriptor_path, methods
from tests.support.apps import CALL_S, App, Done, Edge
from tests.support.cli import Cli

for _file in descriptor_pb2.FileDescriptorSet.FromString(descriptor_path().read_bytes()).file:
    if _file.name.startswith("haas/"):
        # Its descriptors are looked up below: a new file of the contracts is covered the day it is made.
        importlib.import_module(_file.name.removesuffix(".proto").replace("/", ".") + "_pb2")
PUBLIC = [m for m in methods(descriptor_path().read_bytes()) if m.caller == "tenant"]
#: A remote worker's skill.
WORDS = {"name": "words.count", "title": "Counts", "writes": [{"name": "count", "type": "value.count"}]}
#: The least that makes a request whole, beside tenant and project; ids are of things of the caller's own.
WHOLE: dict[str, dict[str, Any]] = {
    "RenewToken": {},
    "PutProfile": {"profile_id": "mine_v1", "yaml": "profile_id: mine_v1\nlanguage: es\n"},
    "GetProfile": {"profile_id": "medluxe_v1"},
    "ListProfiles": {},
    "GetUsage": {},
    "PutDocument": {"name": "own.md", "text": "Texto propio."},
    "ListTools": {},
    "InvokeTool": {"tool": "artifact.read", "arguments": {"artifact_id": "MINE"}},
    "ListEvents": {},
    "StreamEvents": {},
    "StreamEventsSse": {},
    "ListNotifications": {},
    "StreamNotificationsSse": {},
    "GetArtifact": {"artifact_id": "MINE"},
    "ListArtifacts": {},
    "VerifyArtifact": {"artifact_id": "MINE"},
    "UploadInput": {"name": "a.csv"},
    "ListArtifactVersions": {"artifact_id": "MINE"},
    "DiffArtifact": {"artifact_id": "MINE"},
    "AppendWorklog": {"artifact_id": "MINE", "text": "Revisado."},
    "SetArtifactStatus": {"artifact_id": "MINE", "status": "ARTIFACT_STATUS_FINAL"},
    "ListHistories": {},
    "ExportHistory": {"of_project_id": "p-nobody"},
    "ExportBlob": {"of_project_id": "p-nobody", "ref": "sha256:" + "0" * 64},
    "ListCheckpoints": {},
    "SignCheckpoint": {},
    "ListFleetKeys": {},
    "EraseData": {"subject": "nobody@here"},
    "ListSubjects": {},
    "ExportDataKeys": {},
    "DetectIntent": {"text": "Describe nuestro público objetivo"},
    "CreatePlan": {"objective": "Describe nuestro público objetivo"},
    "RunPlan": {"plan_id": "MINE"},
    "CancelPlan": {"plan_id": "MINE"},
    "GetPlanStatus": {"plan_id": "MINE"},
    "GetPlan": {"plan_id": "MINE"},
    "ListPlans": {},
    "ListTasks": {"plan_id": "MINE"},
    "GetTaskDependencies": {"plan_id": "MINE", "task_id": "T-1"},
    "PausePlan": {"plan_id": "MINE"},
    "ResumePlan": {"plan_id": "MINE"},
    "SignalPlan": {"plan_id": "MINE", "name": "paid"},
    "ReplanPlan": {"plan_id": "MINE", "explanation": "why", "removed": ["T-1"]},
    "ForkPlan": {"plan_id": "MINE"},
    "EstimatePlan": {"plan_id": "MINE"},
    "DiffPlan": {"plan_id": "MINE"},
    "RetryTask": {"plan_id": "MINE", "task_id": "T-1"},
    "SkipTask": {"plan_id": "MINE", "task_id": "T-1", "reason": "why"},
    "RerunTask": {"plan_id": "MINE", "task_id": "T-1"},
    "DecideApproval": {"plan_id": "MINE", "task_id": "T-1", "approved": True},
    "RegisterAgent": {"agent_id": "agent.mine", "kind": "AGENT_KIND_SPECIALIST", "skills": ["copy.draft"]},
    "ListAgents": {},
    "SetAgentState": {"agent_id": "specialist.data", "state": "AGENT_STATE_ACTIVE"},
    "ListSkills": {},
    "RemoveSkill": {"skill": "text.mine"},
    "PutHook": {"hook_id": "mine", "signal": "paid"},
    "ListHooks": {},
    "RemoveHook": {"hook_id": "mine"},
    "Work": {"registration": {"worker_id": "w", "agent_id": "agent.words", "skills": [WORDS]}, "leaving": True},
}
#: A field whose name says that it names a thing of a tenant.
ID = re.compile(r".*_id|ref|subject|.*_token|.*_ref")
#: Fields that look like one and are none: an idempotency key and a page token are the caller's own, see the last test;
#: a person's name is asked for in one's own project only; a task counts within its plan, and everybody has a T-1; a
#: hook within its project, whose admin names it (another's: tests/integration/test_hooks.py).
NO_IDS = {"request_id", "page_token", "subject", "task_id", "hook_id"}
#: Every other field of the tenants' requests. A new one fails until somebody has said whether it names a thing.
PLAIN = {
    "after", "agents", "approved", "arguments", "at_version", "before_number", "budget", "comment", "content",
    "credit", "direction", "everything", "explanation", "file", "first_day", "from_revision", "from_seq", "goals",
    "graph", "inputs", "kind", "last_day", "leaving", "lenient", "name", "new_secret", "number", "objective",
    "outputs", "page_size", "plan_path", "reason", "removed", "repairs_max", "role", "running_max", "signal",
    "skill", "skills", "state", "status", "stored", "tasks", "text", "to_revision", "tool", "value", "value_path",
    "values", "version", "version_from", "version_to", "yaml",
    # A worker's stream names what it has by tokens and by its own names: see test_other_workers.py.
    "completions", "failures", "heartbeat", "registration",
}  # fmt: skip


@dataclass(frozen=True)
class World:
    """Two tenants of the same shape: the caller's, and another one with a finished job."""

    mine: App
    theirs: App
    done: Done
    secret: str
    scratch: App
    sibling: App
    planned: Mapping[str, Any]
    theirs_ref: str
    sibling_ref: str

    def caller(self, method: Method) -> App:
        """A tool's caller may say which plan it is for; that stands in its own history, which others here read.

        So does an agent that was registered under another one's name.
        """
        return self.scratch if method.name in ("InvokeTool", "RegisterAgent") else self.mine

    def other(self, name: str, whose: str) -> tuple[str, str]:
        """Returns an id of another tenant's or project's, and one of the same form that nobody has."""
        tenant = whose == "tenant"
        app, created = (self.theirs, self.done.created) if tenant else (self.sibling, self.planned)
        return {
            "tenant_id": (app.tenant, "t-nobody"),
            "project_id": (app.project, "p-nobody"),
            "of_project_id": (app.project, "p-nobody"),
            "plan_id": (str(created["plan_id"]), "pl-aaaaaaaaaaaaaaaaaaaaaaaa"),
            "other_plan_id": (str(created["plan_id"]), "pl-aaaaaaaaaaaaaaaaaaaaaaaa"),
            "artifact_id": (str(created["brief_artifact_id"]), "artf-aaaaaaaaaaaaaaaaaaaaaaaa-brief"),
            "profile_id": ("theirs_v1", "nobody_v1"),
            "receiver_id": ("leader.paid_media", "leader.nobody"),
            "agent_id": ("agent.theirs", "agent.nobody"),
            "ref": (self.theirs_ref if tenant else self.sibling_ref, "sha256:" + "0" * 64),
        }[name]


@pytest.fixture(scope="module")
def edge(fleet: Cli) -> Iterator[Edge]:
    with Edge(fleet) as found:
        yield found


@pytest.fixture(scope="module")
def world(edge: Edge) -> World:
    mine, theirs = edge.example("medluxe"), edge.make("theirs", "p-secret")
    source = mine.get("/v1/profiles/medluxe_v1")["profile"]["yaml"]
    theirs.put_profile(source.replace("medluxe_v1", "theirs_v1"))
    secret = "columpio-de-terciopelo"
    theirs.put_document("secret.md", f"# Público\n\n- Nuestro público ama el {secret}.\n")
    theirs.inputs = {"budget": 1234}
    done = theirs.job("Describe nuestro público objetivo")
    assert done.status["state"] == "PLAN_STATE_COMPLETED", done.status
    with edge.operator() as client:
        made = client.post("/v1/projects", json={"tenant_id": mine.tenant, "project_id": "p-sibling"})
    assert made.status_code == 200, made.text
    sibling = edge.app(mine.tenant, "p-sibling")
    sibling.put_profile(source.replace("medluxe_v1", "theirs_v1"))
    sibling.put_document("secret.md", f"# Público\n\n- Nuestro público ama el {secret}.\n")
    planned = sibling.create("Describe nuestro público objetivo", inputs={"budget": 1234})
    for app in (theirs, sibling):
        agent = {**app.scope, "kind": "AGENT_KIND_SPECIALIST", "skills": ["copy.draft"]}
        assert app.client.put("/v1/agents/agent.theirs", json=agent).status_code == 200
    refs = [str(a.upload("s.csv", f"{secret},n\nx,{a.project}\n".encode())["ref"]) for a in (theirs, sibling)]
    return World(mine, theirs, done, secret, edge.example("medluxe"), sibling, planned, *refs)


def input_of(method: Method) -> Descriptor:
    return descriptor_pool.Default().FindMethodByName(f"{method.service}.{method.name}").input_type


def fields_of(method: Method) -> list[str]:
    return [f.name for f in input_of(method).fields if ID.fullmatch(f.name) and f.name not in NO_IDS]


CALLS = [
    (method, name, whose)
    for method in PUBLIC
    for name in fields_of(method)
    for whose in ("tenant", "project")
    if (name, whose) != ("tenant_id", "project")
]


@dataclass(frozen=True)
class Answer:
    """What a caller sees, without its times and ids."""

    code: str
    reason: str
    text: str


def plain(text: str, *ids: str) -> str:
    """A text without the ids that were asked for, request ids, times and what is new in each answer."""
    for found in ids:
        text = text.replace(found, "ID")
    text = re.sub(r'"(request_id|duration_ms|[a-z_]*time|version|token|plan_id)": ?"?[^",}]*"?', "", text)
    return re.sub(r"[a-z2-7]{24}|\beyJ[\w.-]+", "X", text)


def shown_as_json(message: Message) -> str:
    return json_format.MessageToJson(message, preserving_proto_field_name=True, ensure_ascii=False, indent=None)


def over_grpc(app: App, method: Method, body: Mapping[str, Any], *ids: str) -> Answer:
    described = descriptor_pool.Default().FindMethodByName(f"{method.service}.{method.name}")
    request = json_format.ParseDict(dict(body), message_factory.GetMessageClass(described.input_type)())
    decode = message_factory.GetMessageClass(described.output_type).FromString
    # An admin is no worker: its stream takes a token of its own.
    token = app.edge.token(app.tenant, [app.project], "worker") if method.name == "Work" else app.token
    metadata = (("authorization", f"Bearer {token}"),)
    with app.edge.channel() as channel:
        kind: Callable[..., Any] = {
            (False, False): channel.unary_unary, (False, True): channel.unary_stream,
            (True, False): channel.stream_unary, (True, True): channel.stream_stream,
        }[method.client_streaming, method.server_streaming]  # fmt: skip
        call = kind(method.path, type(request).SerializeToString, decode)
        given = iter([request]) if method.client_streaming else request
        try:
            answered = call(given, metadata=metadata, timeout=CALL_S)
            found = next(answered) if method.server_streaming else answered
        except grpc.RpcError as error:
            known = from_rpc(error)
            shown = json.dumps([known.message, known.metadata], ensure_ascii=False)
            return Answer(error.code().name, known.reason, plain(shown, *ids))
        return Answer("OK", "", plain(shown_as_json(found), *ids))


def over_rest(app: App, method: Method, path: str, verb: str, body: Mapping[str, Any], *ids: str) -> Answer:
    rest = dict(body)
    filled = re.sub(r"\{(\w+)\}", lambda m: str(rest.pop(m[1])), path)
    if verb == "GET" or method.client_streaming:
        file = {"content": b"a\n1\n"} if method.client_streaming else {}
        request = app.client.build_request(verb, filled, params=rest, **file)
    else:
        request = app.client.build_request(verb, filled, json=rest)
    answer = app.client.send(request, stream=True)
    try:
        streams = answer.status_code == 200 and method.server_streaming
        text = next(answer.iter_text()) if streams else answer.read().decode()
    finally:
        answer.close()
    assert answer.status_code < 500, text
    reason = "" if answer.status_code == 200 else answer.json()["details"][0]["reason"]
    return Answer(str(answer.status_code), reason, plain(text, *ids))


def of_world(app: App) -> tuple[Any, ...]:
    plans = app.get("/v1/plans", page_size=500)["plans"]
    return (app.events(), plans, app.get("/v1/artifacts", page_size=500)["artifacts"], app.get("/v1/profiles"))


def own(world: World, method: Method) -> dict[str, Any]:
    """A whole request of the caller's own; MINE is a new plan, or its brief."""
    body = json.loads(json.dumps(WHOLE[method.name]))
    if "MINE" in json.dumps(body):
        created = world.caller(method).create("Describe nuestro público objetivo")
        ids = {"plan_id": created["plan_id"], "artifact_id": created["brief_artifact_id"]}
        for part in (body, body.get("arguments", {})):
            part.update({k: ids[k] for k, v in part.items() if v == "MINE"})
    return {**world.caller(method).scope, **body}


@pytest.mark.parametrize(("method", "name", "whose"), CALLS, ids=lambda v: v if isinstance(v, str) else v.name)
def test_what_is_not_yours_looks_like_what_does_not_exist(world: World, method: Method, name: str, whose: str) -> None:
    theirs, nobodys = world.other(name, whose)
    body = own(world, method)
    before = of_world(world.theirs), of_world(world.sibling)
    app = world.caller(method)
    ways: list[Callable[[Mapping[str, Any], str], Answer]] = [lambda b, i: over_grpc(app, method, b, i)]
    for route in method.routes:
        ways.append(lambda b, i, r=route: over_rest(app, method, r.path, r.verb, b, i))
    for route_number, way in enumerate(ways):
        if route_number and "{plan_id}" in method.routes[route_number - 1].path:
            body.setdefault("plan_id", nobodys if name == "plan_id" else "pl-aaaaaaaaaaaaaaaaaaaaaaaa")
        found = way({**body, name: theirs}, theirs)
        assert found == way({**body, name: nobodys}, nobodys)
        assert world.secret not in found.text
        assert world.theirs.tenant not in found.text
        if name in ("tenant_id", "project_id"):
            assert found.reason == {"tenant_id": "TENANT_MISMATCH", "project_id": "PROJECT_NOT_GRANTED"}[name]
        elif name in ("plan_id", "artifact_id", "profile_id", "agent_id") and found.reason:
            assert found.reason in ("RESOURCE_NOT_FOUND", "PROFILE_MISSING", "PROFILE_INVALID", "FIELD_INVALID")
    for malformed in (f"{theirs}' OR true --", f"../{theirs}", "*"):
        odd = over_grpc(app, method, {**body, name: malformed}, theirs)
        assert odd.code not in ("INTERNAL", "UNKNOWN", "UNAVAILABLE")
        assert world.secret not in odd.text
    assert (of_world(world.theirs), of_world(world.sibling)) == before


def test_every_field_of_a_request_is_known_to_name_a_thing_or_not() -> None:
    """A new id field is tried above by itself; whatever else is new must be said to be none."""
    fields = {f.name for m in PUBLIC for f in input_of(m).fields}
    assert {name for name in fields if not ID.fullmatch(name)} <= PLAIN
    assert {name for name in fields if ID.fullmatch(name)} <= NO_IDS | {name for _, name, _ in CALLS}


def test_a_method_that_is_new_is_tried_in_every_field_that_looks_like_an_id() -> None:
    """By a contract that is made up here: nothing lists its fields."""
    file = descriptor_pb2.FileDescriptorProto(name="made_up.proto", package="made.up")
    asked = file.message_type.add(name="Asked")
    for number, name in enumerate(("tenant_id", "project_id", "budget_id", "request_id", "text"), start=1):
        asked.field.add(name=name, number=number, type="TYPE_STRING", label="LABEL_OPTIONAL")
    file.service.add(name="New").method.add(name="Ask", input_type=".made.up.Asked", output_type=".made.up.Asked")
    descriptor_pool.Default().Add(file)
    method = Method("made.up.New", "Ask", "new", "tenant", 5, 30, True, False, False, ())
    assert fields_of(method) == ["tenant_id", "project_id", "budget_id"]
    assert "budget_id" not in PLAIN


def test_every_public_method_and_route_is_covered() -> None:
    assert {m.name for m in PUBLIC} == set(WHOLE)
    assert all(m.scoped for m in PUBLIC)
    assert all({"tenant_id", "project_id"} <= set(fields_of(m)) for m in PUBLIC)


def test_another_tenant_s_things_cannot_be_named_inside_of_a_request_either(world: World) -> None:
    app, brief = world.mine, str(world.done.created["brief_artifact_id"])
    ref = world.theirs.upload("theirs.csv", b"secret,n\ncolumpio,1\n")["ref"]
    before = of_world(world.theirs)
    nobodys = "sha256:" + "0" * 64
    for given in (ref, nobodys):
        asked = {**app.scope, "objective": app.objective, "inputs": {"campaign_results": given}}
        answer = app.client.post("/v1/plans:create", json=asked)
        assert (answer.status_code, answer.json()["details"][0]["reason"]) == (404, "RESOURCE_NOT_FOUND")
    arguments = (
        ("data.table", {"ref": ref}, {"ref": nobodys}),
        ("artifact.read", {"ref": ref}, {"ref": nobodys}),
        ("artifact.read", {"artifact_id": brief}, {"artifact_id": "artf-aaaaaaaaaaaaaaaaaaaaaaaa-brief"}),
    )
    for tool, theirs, none in arguments:
        path = f"/v1/tools/{tool}:invoke"
        answers = [app.client.post(path, json={**app.scope, "arguments": a}) for a in (theirs, none)]
        shown = [plain(a.text, *map(str, g.values())) for a, g in zip(answers, (theirs, none), strict=True)]
        assert shown[0] == shown[1]
        assert [a.status_code for a in answers] == [404, 404]
        assert "columpio" not in answers[0].text
    path = f"/v1/plans/{app.create('Describe nuestro público objetivo')['plan_id']}/tasks/T-1:skip"
    for given in (brief, "artf-aaaaaaaaaaaaaaaaaaaaaaaa-brief"):
        asked = {**app.scope, "reason": "why", "outputs": {"audience": given}}
        answer = app.client.post(path, json=asked)
        assert (answer.status_code, answer.json()["details"][0]["reason"]) == (404, "RESOURCE_NOT_FOUND")
    assert of_world(world.theirs) == before


def test_another_tenant_s_page_token_and_request_id_open_nothing_of_it(world: World) -> None:
    app = world.mine
    for path in ("/v1/plans", "/v1/artifacts"):
        token = world.theirs.get(path, page_size=1)["next_page_token"]
        token = token or world.theirs.artifacts(world.done.plan_id)[0]["artifact_id"]
        if path == "/v1/plans" and token.startswith("artf-"):
            continue
        page = app.get(path, page_token=token, page_size=500)
        assert world.theirs.tenant not in json.dumps(page)
        ids = {p.get("plan_id") for p in page.get("plans", page.get("artifacts"))}
        assert world.done.plan_id not in ids
    same = {"request_id": "the-same", "inputs": {}}
    text = "Describe nuestro público objetivo"
    first = world.theirs.create(text, **same)
    assert app.create(text, **same)["plan_id"] != first["plan_id"]
