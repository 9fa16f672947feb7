"""Inputs and outputs on the wire: JSON text, or bytes with a content type, such as MessagePack."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import uuid
from pathlib import PurePath
from typing import Any

from .errors import CeleriacError, EncodeError

JSON = "application/json"
#: What `Payload.msgpack` writes, and what else means the same.
MSGPACK = "application/msgpack"
MSGPACK_TYPES = frozenset({MSGPACK, "application/vnd.msgpack", "application/x-msgpack"})


@dataclasses.dataclass(frozen=True)
class Payload:
    """Bytes with a content type, as they travel: an input that is no JSON, or an output that came as bytes.

    `bytes` alone as an input are `Payload(data, "application/octet-stream")`.
    """

    data: bytes
    content_type: str = "application/octet-stream"

    @classmethod
    def msgpack(cls, value: object) -> Payload:
        """A value as MessagePack, bytes within it included. What has no MessagePack of its own is as in JSON.

        Takes the package `msgpack`: `pip install celeriac[msgpack]`.
        """
        try:
            return cls(_msgpack().packb(value, default=_default), MSGPACK)
        except (TypeError, ValueError, OverflowError) as error:
            raise EncodeError(f"{type(value).__name__} cannot be written as MessagePack: {error}") from error

    def value(self) -> Any:
        """What JSON or MessagePack says; anything else is bytes."""
        if self.is_json:
            return json.loads(self.data)
        return self.unpacked() if self.is_msgpack else self.data

    def unpacked(self) -> Any:
        """What MessagePack says. Nothing but plain values: a type of somebody's own stays a `msgpack.ExtType`."""
        try:
            return _msgpack().unpackb(self.data, strict_map_key=False)
        except ValueError as error:
            raise ValueError(f"it is not MessagePack: {error or type(error).__name__}") from error

    @property
    def is_msgpack(self) -> bool:
        """Whether this is MessagePack."""
        return self.content_type in MSGPACK_TYPES

    @property
    def is_json(self) -> bool:
        """Whether this is a JSON document."""
        return self.content_type == JSON


def _msgpack() -> Any:
    try:
        import msgpack  # noqa: PLC0415 only who uses it needs it
    except ImportError as error:
        raise CeleriacError("MessagePack takes the package `msgpack`: pip install celeriac[msgpack]") from error
    return msgpack


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
