"""Inputs and outputs on the wire: JSON text, or bytes with a content type."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import uuid
from pathlib import PurePath
from typing import Any

from .errors import EncodeError

JSON = "application/json"


@dataclasses.dataclass(frozen=True)
class Payload:
    """Bytes with a content type, as they travel: an input that is no JSON, or an output that came as bytes.

    `bytes` alone as an input are `Payload(data, "application/octet-stream")`.
    """

    data: bytes
    content_type: str = "application/octet-stream"

    def json(self) -> Any:
        """What a JSON document says."""
        return json.loads(self.data)

    @property
    def is_json(self) -> bool:
        """Whether this is a JSON document."""
        return self.content_type == JSON


def _default(value: object) -> object:
    """What `json` does not know. Raises for what has no obvious JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (uuid.UUID, PurePath)):
        return str(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


# `allow_nan`: NaN is no JSON, and no host would take it.
_encode = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=True, separators=(",", ":"), default=_default
).encode


def encode(value: object, task: str) -> Payload:
    """An input as it travels: `Payload` and bytes as they are, everything else as JSON."""
    if isinstance(value, Payload):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return Payload(bytes(value))
    try:
        return Payload(_encode(value).encode(), JSON)
    except (TypeError, ValueError) as error:
        raise EncodeError(f"the input of {task} cannot be written as JSON: {error}") from error
