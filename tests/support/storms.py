"""A plan of a thousand tasks for a storm, what goes wrong during it, and the outside world that it acts on."""

import http.server
import json
import os
import random
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import yaml

from tests.support.apps import EXAMPLES, App, Edge

SEED = int(os.environ.get("HAAS_CHAOS_SEED", "1"))
ROUNDS = int(os.environ.get("HAAS_CHAOS_ROUNDS", "3"))
TASKS = 1_000
#: What the plan's shapes have: items of the map that writes, calls of the outside world, layers, notes, and so on; the
#: chains take what is left of the thousand.
WRITTEN, CALLED, LAYERS, WIDTH, READS, NOTES, KEYED, WAITS = 240, 40, 10, 30, 3, 50, 40, 6
#: Parts that are killed; one of the planners is also stopped for longer than its leases.
PLANNERS = ("planner", "planner-2")
KILLED = ("postgres", "valkey", "mcp")
SIGNAL = "go"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_POST(self) -> None:
        """Takes an effect: once for each key. A request whose sender died while it was sent is none."""
        length = int(self.headers["content-length"])
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        self.server.ledger.take(self.headers["idempotency-key"], body)
        answer = b'{"taken": true}'
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    ledger: "Ledger"

    def handle_error(self, *_: Any) -> None:
        """Says nothing of a caller that was killed."""


class Ledger:
    """Somebody else's service, which takes an effect once for each idempotency key, as HAAS asks of it.

    Attributes:
        calls: how often each key came.
        bodies: what came under each key.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.bodies: dict[str, set[bytes]] = {}
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.ledger = self
        self.host = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="ledger", daemon=True)

    def __enter__(self) -> "Ledger":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, key: str, body: bytes) -> None:
        """Takes a call."""
        with self._lock:
            self.calls[key] += 1
            self.bodies.setdefault(key, set()).add(body)


@dataclass(slots=True)
class StormPlan:
    """A graph, and what has to come of it.

    Attributes:
        tasks: as the API takes them.
        values: what a task must have written, where it is known: slot → value.
        items: of its maps, how many each has by the tool.
    """

    tasks: list[dict[str, Any]] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    items: dict[str, int] = field(default_factory=dict)

    def add(
        self, kind: str, reads: Sequence[str] = (), *, skill: str = "", writes: str = "value.number",
        params: Mapping[str, Any] | None = None, control: Mapping[str, Any] | None = None, **more: Any,
    ) -> str:  # fmt: skip
        """Adds a task that reads the values of others; returns its slot, v<number>."""
        number = len(self.tasks) + 1
        types = {t["writes"][0]["name"]: (t["task_id"], t["writes"][0]["type"]) for t in self.tasks} if reads else {}
        self.tasks.append(
            {
                "task_id": f"T-{number}", "kind": f"TASK_KIND_{kind.upper()}", "skill": skill or kind,
                "reads": [{"name": r, "type": types[r][1], "from_task": types[r][0]} for r in reads],
                "writes": [{"name": f"v{number}", "type": writes}], "params_json": json.dumps(params or {}),
                "control_json": json.dumps(control or {}), **more,
            }
        )  # fmt: skip
        return f"v{number}"

    def computed(
        self,
        expression: str,
        value: Any,
        reads: Sequence[str] = (),
        params: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> str:
        """Adds a transform whose value is known; returns its slot."""
        slot = self.add("transform", reads, params={"expression": expression, **(params or {})}, **more)
        self.values[slot] = value
        return slot

    @property
    def count(self) -> int:
        """How many tasks it has in the end, those of its maps among them."""
        return len(self.tasks) + sum(self.items.values())


def gate(number: int) -> str:
    """Returns the signal that a chain of a storm's plan waits for."""
    return f"{SIGNAL}.{number}"


def storm_plan(chance: random.Random, name: str, host: str, gates: int, *, calls: bool = True) -> StormPlan:
    """Returns a plan of a thousand tasks of every shape.

    Args:
        chance: Which tasks read which.
        name: Of what it writes; letters and digits.
        host: Of the ledger.
        gates: How many chains it ends with, each behind a signal: there is something to do until the last has come.
        calls: Whether it calls the ledger: such a call waits for 30 s when it was under way while MCP died.
    """
    plan = StormPlan()
    item = {"$param": "item"}
    write = {"artifact_id": item, "path": item, "type": "doc.note", "body": f"# A note of {name}"}
    _map(plan, "artifact.write", write, [f"artf-{name}-{n}" for n in range(WRITTEN)], 8)
    if calls:
        post = {"method": "POST", "url": f"http://{host}/effects", "body": item}
        _map(plan, "mcp.http", post, [f"{name}-{n}" for n in range(CALLED)], 4)
    layer = [plan.computed(f"`{n}`", n) for n in range(WIDTH)]
    for _ in range(LAYERS - 1):
        layer = [_summed(plan, chance.sample(layer, READS), place) for place in range(WIDTH)]
    for _ in range(NOTES):
        plan.add("transform", [chance.choice(layer)], params={"expression": "values(inputs)[0]"}, writes="doc.note")
    for n in range(KEYED):
        plan.computed(f"`{n}`", n, policy={"concurrency_key": f"account-{name}", "concurrency_max": 2})
    for n in range(WAITS):
        control = {"signal": SIGNAL} if n == 0 else {"for_s": 0.5 + n}
        plan.add("wait", writes="value.signal", control=control)
    left = TASKS - plan.count
    for n in range(gates):
        link = plan.add("wait", writes="value.signal", control={"signal": gate(n)})
        link = plan.computed("`1`", 1, [link])
        for place in range((left * (n + 1)) // gates - (left * n) // gates - 2):
            link = plan.computed("values(inputs)[0]", 1, [link], **_by_attempt(place))
    return plan


def _summed(plan: StormPlan, reads: Sequence[str], place: int) -> str:
    # Some digits only: ten layers of sums stay exact in a double.
    return plan.computed("sum(values(inputs))", sum(plan.values[r] for r in reads), reads, **_by_attempt(place))


def _by_attempt(place: int) -> dict[str, Any]:
    """Every second transform reserves a budget, so that it takes an attempt; the decision does the others."""
    return {"policy": {"tokens_max": 1}} if place % 2 else {}


def _map(plan: StormPlan, tool: str, params: Mapping[str, Any], items: Sequence[str], limit: int) -> None:
    """Adds a list and a map of a tool over it."""
    slot = plan.computed("params.values", list(items), writes="value.list", params={"values": items})
    template = {"kind": "tool", "skill": tool, "params": params, "title": tool}
    control = {"over": slot, "path": "value", "limit": limit, "item": template}
    plan.add("map", [slot], control=control, writes="doc.results")
    plan.items[tool] = len(items)


def storm_app(edge: Edge, host: str) -> App:
    """A tenant of its own whose profile allows what the plan does."""
    profile = yaml.safe_load((EXAMPLES / "medluxe" / "profile.yaml").read_text())
    profile["http_hosts"] = [host]
    profile["policies"]["rate_limits"] = {}
    app = edge.make("storm")
    app.put_profile(yaml.safe_dump(profile, allow_unicode=True))
    return app


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong once so many tasks are complete.

    Attributes:
        at: how many, and at least one since the fault before.
        killed: the parts that are killed at the same moment.
        frozen: whether the planner that decides on the plan is stopped for longer than its lease instead.
    """

    at: int
    killed: tuple[str, ...] = ()
    frozen: bool = False


def faults(chance: random.Random, *, freeze: bool) -> list[Fault]:
    """Returns a round's faults: every part alone, and two at once, at random moments in a random order.

    The planner is frozen first, since that takes longest: the plan waits for it.
    """
    two = tuple(chance.sample((chance.choice(PLANNERS), *KILLED), 2))
    wanted: list[tuple[str, ...]] = [(chance.choice(PLANNERS),), *((name,) for name in KILLED), two]
    chance.shuffle(wanted)
    if freeze:
        wanted.insert(0, ())
    moments = sorted(chance.sample(range(20, TASKS // 2), len(wanted)))
    return [Fault(at, killed, not killed) for at, killed in zip(moments, wanted, strict=True)]
