"""Server-sent events (WHATWG HTML §9.2): the bytes of a frame, and the cursor that a client comes back with."""

import json

from google.protobuf import json_format
from google.protobuf.message import Message

from haas_common import errors

RETRY_MS = 2000
CONTENT_TYPE = "text/event-stream"
#: A proxy or a phone drops what is silent for long; the edge's own idle limit is above twice this.
KEEP_ALIVE_S = 15.0
BEGIN = f"retry: {RETRY_MS}\n\n".encode()
KEEP_ALIVE = b": keep-alive\n\n"
LAST_EVENT_ID = "last-event-id"
_SEQ_DIGITS_MAX = 18


def message_json(message: Message) -> str:
    """Returns a message as one line of JSON, in the form that the edge gives it over REST."""
    shown = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return json.dumps(shown, ensure_ascii=False, separators=(",", ":"))


def frame(event: str, data: str, seq: int | None = None) -> bytes:
    """Returns a frame. `data` is one line; `event` is a name of ours."""
    head = f"id: {seq}\n" if seq is not None else ""
    return f"{head}event: {event}\ndata: {data}\n\n".encode()


def end(state: str) -> bytes:
    """Returns the last frame of a plan's stream."""
    return frame("end", json.dumps({"state": state}))


def error(failure: errors.HaasError) -> bytes:
    """Returns the last frame of a stream that breaks: the status that a gRPC caller gets (AIP-193)."""
    shown = json_format.MessageToDict(failure.to_status(), preserving_proto_field_name=True)
    return frame("error", json.dumps(shown, ensure_ascii=False, separators=(",", ":")))


def start_after(from_seq: int, last_event_id: str) -> int:
    """Returns the seq to go on after: the header's, where a client came back with one. Raises FieldInvalid."""
    if not last_event_id:
        return from_seq
    if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= _SEQ_DIGITS_MAX):
        raise errors.FieldInvalid(
            "Last-Event-ID is the id of a frame of this stream, a number.", field="Last-Event-ID", rule="seq"
        )
    return int(last_event_id)
