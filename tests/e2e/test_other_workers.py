"""Another tenant's workers: its names and its tasks' tokens are worth nothing in a stream of one's own."""

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from google.protobuf import json_format

from haas.planner.v1 import worker_pb2, worker_pb2_grpc
from tests.support.apps import App, Edge
from tests.support.cli import Cli

WORDS = {"name": "words.count", "title": "Counts", "writes": [{"name": "count", "type": "value.count"}]}
PROFILE = "profile_id: words_v1\nlanguage: es\nskills: [words.count]\n"
TASK = {
    "task_id": "T-1", "kind": "TASK_KIND_SPECIALIST", "skill": "words.count", "title": "Cuenta",
    "writes": [{"name": "n", "type": "value.count"}], "attempts_max": 1, "attempt_limit_s": 120,
}  # fmt: skip
SUPERSEDED = worker_pb2.WORKER_REFUSAL_REASON_SUPERSEDED
#: Of the form that tokens have, and nobody's.
NOBODYS = "pl-aaaaaaaaaaaaaaaaaaaaaaaa/T-1/1/1"


class Stream:
    """A worker's stream, said by hand."""

    def __init__(self, app: App, channel: Any) -> None:
        self._said: queue.Queue[worker_pb2.WorkRequest | None] = queue.Queue()
        token = app.edge.token(app.tenant, [app.project], "worker")
        requests = iter(self._said.get, None)
        metadata = (("authorization", f"Bearer {token}"),)
        self._heard = worker_pb2_grpc.WorkerServiceStub(channel).Work(requests, metadata=metadata, timeout=120)
        self._scope = app.scope

    def say(self, **fields: Any) -> None:
        self._said.put(json_format.ParseDict({**self._scope, **fields}, worker_pb2.WorkRequest()))

    def hear(self) -> worker_pb2.WorkResponse:
        return next(self._heard)

    def close(self) -> None:
        self.say(leaving=True)
        self._said.put(None)
        self._heard.cancel()


@contextmanager
def registered(app: App, credit: int, *tokens: str) -> Iterator[Stream]:
    """A worker by the name that every tenant of this test gives its own."""
    with app.edge.channel() as channel:
        stream = Stream(app, channel)
        facts = {"worker_id": "w", "agent_id": "agent.words", "skills": [WORDS], "tokens": list(tokens)}
        stream.say(registration=facts, credit=credit)
        assert stream.hear().registered.worker_id == "w"
        try:
            yield stream
        finally:
            stream.close()


@pytest.fixture(scope="module")
def edge(fleet: Cli) -> Iterator[Edge]:
    with Edge(fleet) as found:
        yield found


def result(token: str, value: int) -> dict[str, Any]:
    return {"token": token, "outputs": {"n": {"data_json": str(value)}}}


def test_a_token_and_a_name_of_another_tenants_worker_do_what_made_up_ones_do(edge: Edge) -> None:
    theirs, mine = edge.make("theirs"), edge.make("mine")
    for app in (theirs, mine):
        app.put_profile(PROFILE)
    with registered(theirs, 1) as worker:
        plan_id = theirs.create("Cuenta palabras", graph={"tasks": [TASK]})["plan_id"]
        theirs.run(plan_id)
        (task,) = worker.hear().tasks
        with registered(mine, 1, task.token, NOBODYS) as other:
            other.say(heartbeat={"tokens": [task.token, NOBODYS]})
            other.say(
                completions=[result(task.token, 666), result(NOBODYS, 666)],
                failures=[{"token": t, "reason": "SOURCE_GONE", "message": "x"} for t in (task.token, NOBODYS)],
            )
            refused: list[tuple[str, int]] = []
            cancelled: list[str] = []
            while len(refused) < 4:
                answer = other.hear()
                assert (len(answer.tasks), len(answer.accepted)) == (0, 0)
                refused += [(one.token, one.reason) for one in answer.refused]
                cancelled += answer.cancelled
            assert sorted(refused) == sorted([(task.token, SUPERSEDED), (NOBODYS, SUPERSEDED)] * 2)
            assert (task.token in cancelled) == (NOBODYS in cancelled)
        assert theirs.status(plan_id)["state"] == "PLAN_STATE_RUNNING"
        worker.say(completions=[result(task.token, 3)])
        while not (answer := worker.hear()).accepted:
            assert (list(answer.cancelled), list(answer.refused)) == ([], [])
        assert list(answer.accepted) == [task.token]
        theirs.finish(plan_id)
    assert theirs.status(plan_id)["state"] == "PLAN_STATE_COMPLETED"
    assert [e for e in mine.events() if e.get("plan_id")] == []
