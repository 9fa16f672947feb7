"""From an output to the type that the caller asked for: plain values, dataclasses, typed dicts, pydantic models.

One conversion for everything but pydantic models, so that a type means the same with and without pydantic. It
is strict: a text is never taken for a number. Only a whole number where a float is asked for becomes one.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import functools
import json
import types
import typing
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Union

import typing_extensions

from .errors import DecodeError
from .payload import Payload

Decoder = Callable[[Payload], Any]


def decoder(output: Any) -> Decoder:
    """What turns payloads into `output`: a type, `None` for whatever comes, `Payload` or `bytes` for the raw bytes."""
    if output is None or output is Any:
        return _plain
    if output is Payload:
        return lambda payload: payload
    if output is bytes:
        return lambda payload: payload.data
    if _is_model(output):
        return functools.partial(_model, output)
    return functools.partial(_typed, output)


def decode(payload: Payload, output: Decoder, id: str) -> Any:
    """The output, or an error that names the invocation."""
    try:
        return output(payload)
    except (ValueError, TypeError, KeyError) as error:
        raise DecodeError(f"the output of invocation {id} is not what was asked for: {error}") from error


def _plain(payload: Payload) -> Any:
    return payload.value()


def _model(model: Any, payload: Payload) -> Any:
    return model.model_validate_json(payload.data) if payload.is_json else model.model_validate(_document(payload))


def _typed(output: Any, payload: Payload) -> Any:
    return convert(_document(payload), output, "output")


def _document(payload: Payload) -> Any:
    if not payload.is_json and not payload.is_msgpack:
        raise ValueError(f"it is {payload.content_type}, neither JSON nor MessagePack: ask for `bytes`")
    return payload.value()


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and hasattr(kind, "model_validate_json")


def convert(value: Any, kind: Any, place: str) -> Any:
    """`value`, read from JSON, as a `kind`; `place` says where it stands."""
    if kind is Any or kind is object:
        return value
    if _is_model(kind):
        return kind.model_validate(value)
    if kind is None or kind is type(None):
        return _check(value is None, value, "null", place)
    origin = typing.get_origin(kind)
    if origin is not None:
        return _convert_generic(value, kind, origin, place)
    if kind in _SCALARS:
        return _SCALARS[kind](value, place)
    if dataclasses.is_dataclass(kind) or typing_extensions.is_typeddict(kind):
        return _convert_fields(value, kind, place)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(value)
    if isinstance(kind, type):
        if not isinstance(value, kind):
            raise ValueError(f"{place}: expected {kind.__name__}, got {_show(value)}")
        return value
    raise TypeError(f"{place}: {kind} is not a type that an output can be read as")


def _convert_generic(value: Any, kind: Any, origin: Any, place: str) -> Any:
    args = typing.get_args(kind)
    if origin is Union or origin is types.UnionType:
        return _convert_union(value, args, place)
    if origin is Literal or origin is typing_extensions.Literal:
        return _check(value in args, value, f"one of {args}", place)
    if origin in (typing.Annotated, typing_extensions.Required, typing_extensions.NotRequired):
        return convert(value, args[0], place)
    if isinstance(origin, type) and issubclass(origin, tuple) and args and args[-1] is not ...:
        _check(isinstance(value, list) and len(value) == len(args), value, f"a list of {len(args)}", place)
        return tuple(convert(item, arg, f"{place}[{at}]") for at, (item, arg) in enumerate(zip(value, args)))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        _check(isinstance(value, dict), value, "an object", place)
        return {key: convert(item, args[1], f"{place}.{key}") for key, item in value.items()}
    if isinstance(origin, type) and issubclass(origin, (Sequence, set, frozenset)):
        _check(isinstance(value, list), value, "a list", place)
        items = [convert(item, args[0], f"{place}[{at}]") for at, item in enumerate(value)]
        return _COLLECTIONS.get(origin, list)(items)
    if dataclasses.is_dataclass(origin):
        return _convert_fields(value, origin, place)
    raise TypeError(f"{place}: {kind} is not a type that an output can be read as")


def _convert_union(value: Any, args: tuple[Any, ...], place: str) -> Any:
    reasons = []
    for arg in args:
        try:
            return convert(value, arg, place)
        except (ValueError, TypeError) as error:
            reasons.append(str(error))
    raise ValueError("; ".join(reasons))


@functools.cache
def _fields(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Each field with its type and whether it must be there."""
    hints = typing_extensions.get_type_hints(kind, include_extras=True)
    if dataclasses.is_dataclass(kind):
        missing = dataclasses.MISSING
        return {
            field.name: (hints[field.name], field.default is missing and field.default_factory is missing)
            for field in dataclasses.fields(kind)
            if field.init
        }
    return {name: (hint, name in kind.__required_keys__) for name, hint in hints.items()}


def _convert_fields(value: Any, kind: Any, place: str) -> Any:
    _check(isinstance(value, dict), value, "an object", place)
    made = {}
    for name, (hint, is_required) in _fields(kind).items():
        if name in value:
            made[name] = convert(value[name], hint, f"{place}.{name}")
        elif is_required:
            raise ValueError(f"{place}.{name} is missing")
    # What the type does not know is passed over: a task may say more than it did.
    return kind(**made)


def _check(holds: bool, value: Any, expected: str, place: str) -> Any:
    if not holds:
        raise ValueError(f"{place}: expected {expected}, got {_show(value)}")
    return value


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 60 else text[:60] + "…"


def _int(value: Any, place: str) -> int:
    is_whole = (isinstance(value, int) and not isinstance(value, bool)) or (
        isinstance(value, float) and value.is_integer()
    )
    return int(_check(is_whole, value, "a whole number", place))


def _float(value: Any, place: str) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(_check(is_number, value, "a number", place))


def _parsed(parse: Callable[[str], Any], expected: str) -> Callable[[Any, str], Any]:
    def convert_text(value: Any, place: str) -> Any:
        _check(isinstance(value, str), value, expected, place)
        try:
            return parse(value)
        except ValueError:
            raise ValueError(f"{place}: expected {expected}, got {_show(value)}") from None

    return convert_text


def _time(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    # Python 3.10 does not read the `Z`.
    return lambda text: parse(text[:-1] + "+00:00" if text.endswith("Z") else text)


_SCALARS: dict[Any, Callable[[Any, str], Any]] = {
    int: _int,
    float: _float,
    bool: lambda value, place: _check(isinstance(value, bool), value, "true or false", place),
    str: lambda value, place: _check(isinstance(value, str), value, "a text", place),
    datetime.datetime: _parsed(_time(datetime.datetime.fromisoformat), "a time such as 2026-11-21T09:00:00Z"),
    datetime.date: _parsed(datetime.date.fromisoformat, "a date such as 2026-11-21"),
    uuid.UUID: _parsed(uuid.UUID, "a UUID"),
}

#: What an array becomes; everything else, such as `Sequence`, a list.
_COLLECTIONS: dict[Any, Callable[[list[Any]], Any]] = {tuple: tuple, set: set, frozenset: frozenset}
