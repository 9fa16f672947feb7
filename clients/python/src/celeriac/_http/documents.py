"""Between the gateway's JSON documents and what the client works with."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from ..errors import Damaged
from ..outcome import Event, LogRecord, Outcome, Progress, State, Status
from ..payload import JSON, Payload

if TYPE_CHECKING:
    from ..transport import Submission
    from .sse import ServerEvent


def submission(of: Submission, reply_to: str | None) -> bytes:
    """An invocation as `POST /v1/invocations` takes it."""
    head: dict[str, Any] = {"id": of.id, "task": of.task.text}
    if of.options:
        head["options"] = of.options
    if reply_to is not None and of.is_awaited:
        head["reply_to"] = reply_to
    if of.input.content_type == JSON:
        # The input is JSON already: it is put in as it is.
        return json.dumps(head, ensure_ascii=False).encode()[:-1] + b',"input":' + of.input.data + b"}"
    head["input_base64"] = base64.b64encode(of.input.data).decode()
    head["content_type"] = of.input.content_type
    return json.dumps(head, ensure_ascii=False).encode()


def outcome(result: dict[str, Any]) -> Outcome:
    """The result document."""
    try:
        head: dict[str, Any] = {
            name: result[name] for name in ("code", "content_type", "failure", "usage") if name in result
        }
        if "output_base64" in result:
            return Outcome(head, base64.b64decode(result["output_base64"]))
        if "content_type" in result:
            return Outcome(head, json.dumps(result["output"], ensure_ascii=False, separators=(",", ":")).encode())
        return Outcome(head)
    except (KeyError, ValueError, TypeError) as error:
        raise Damaged(f"invocation {result.get('id')}", str(error)) from error


def status(document: dict[str, Any]) -> Status:
    """Where an invocation stands. What a later version adds is passed over."""
    try:
        known = {name: document[name] for name in Status.__dataclass_fields__ if name in document}
        known["state"] = State(known["state"])
        if known.get("progress") is not None:
            known["progress"] = Progress.read(known["progress"])
        return Status(**known)
    except (KeyError, ValueError, TypeError) as error:
        raise Damaged(f"invocation {document.get('id')}", str(error)) from error


def event(sent: ServerEvent) -> Event | None:
    """An event of an invocation; none for its result and for kinds of a later version."""
    try:
        data = json.loads(sent.data)
        what: Progress | LogRecord | Payload
        if sent.kind == "progress":
            what = Progress.read(data)
        elif sent.kind == "log":
            what = LogRecord.read(data)
        elif sent.kind == "chunk":
            what = _chunk(data)
        else:
            return None
        return Event(sent.id, int(data["at_ms"]), int(data["attempt"]), what)
    except (KeyError, ValueError, TypeError) as error:
        raise Damaged(f"event {sent.id}", str(error)) from error


def _chunk(data: dict[str, Any]) -> Payload:
    if "data_base64" in data:
        return Payload(base64.b64decode(data["data_base64"]), data["content_type"])
    return Payload(json.dumps(data["data"], ensure_ascii=False, separators=(",", ":")).encode(), data["content_type"])
