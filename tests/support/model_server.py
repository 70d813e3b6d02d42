"""A small OpenAI-compatible server: it answers each seat by its schema, or not, as the test says."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MARK = "Redactado por el modelo de prueba."
NAME = "prueba-1"


class ModelServer(ThreadingHTTPServer):
    """Serves `/v1/chat/completions`.

    Attributes:
        answers: "good", "garbage" (no JSON), "wrong" (JSON of another form), "invented" (a figure that no fact holds)
            or "down" (status 500).
        asked: the seats that were asked for, in order.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = "good"
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        """What HAAS_LLM_BASE_URL is."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: ModelServer

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        seat = request["response_format"]["json_schema"]["name"]
        assert (request["model"], self.path) == (NAME, "/v1/chat/completions")
        self.server.asked.append(seat)
        facts = json.loads(request["messages"][1]["content"])
        mode = self.server.answers
        content = {"garbage": "as you wish!", "wrong": '{"answer": 42}'}.get(mode)
        if content is None:
            content = json.dumps(_answer(seat, facts, " Son 987654 leads." if mode == "invented" else f"\n\n{MARK}"))
        body = json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()
        self.send_response(500 if mode == "down" else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


def _answer(seat: str, facts: dict[str, Any], more: str) -> dict[str, Any]:
    if seat == "intent":
        return {"intent": "campaign.plan", "slots": [{"name": "tono", "value": "cercano"}], "confidence": 0.99}
    if seat == "brief":
        return {name: {part: text + more for part, text in d.items()} for name, d in facts["drafts"].items()}
    return {key: section["draft"] + more for key, section in facts["sections"].items()}


@contextmanager
def serving() -> Iterator[ModelServer]:
    """Runs the server in a thread."""
    with ModelServer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
