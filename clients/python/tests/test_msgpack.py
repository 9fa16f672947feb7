"""MessagePack as input and output: payloads are bytes with a content type, and this is one that both sides can read."""

from __future__ import annotations

import datetime
import subprocess
import sys
import uuid
from dataclasses import dataclass

import pytest
from pydantic import BaseModel

from celeriac import AsyncClient, Client, DecodeError, EncodeError, Payload

VALUE = {"name": "ü", "count": 2**53 + 1, "raw": b"\x00\xff", "list": [1.5, None, True, {}], 7: "by a number"}


@dataclass
class Picture:
    name: str
    raw: bytes
    size: tuple[int, int]


class PictureModel(BaseModel):
    name: str
    raw: bytes


async def test_a_value_comes_back_as_it_went(client: AsyncClient) -> None:
    payload = Payload.msgpack(VALUE)
    assert payload.content_type == "application/msgpack"
    echo = client.task("basics/echo-bytes")
    assert await echo(payload) == VALUE
    assert await client.call("basics/echo-bytes", payload, output=Payload) == payload
    assert await client.call("basics/echo-bytes", payload, output=bytes) == payload.data


async def test_outputs_are_read_as_the_type_asked_for(client: AsyncClient) -> None:
    picture = Picture("a", b"\x89PNG", (4, 3))
    payload = Payload.msgpack(picture)
    assert await client.call("basics/echo-bytes", payload, output=Picture) == picture
    model = await client.call("basics/echo-bytes", payload, output=PictureModel)
    assert model == PictureModel(name="a", raw=b"\x89PNG")
    with pytest.raises(DecodeError, match=r"output\.name: expected a text"):
        await client.call("basics/echo-bytes", Payload.msgpack({"name": 1, "raw": b"", "size": [1, 2]}), output=Picture)


async def test_other_names_of_the_type_are_understood_and_damage_is_an_error(client: AsyncClient) -> None:
    for name in ("application/x-msgpack", "application/vnd.msgpack"):
        assert await client.call("basics/echo-bytes", Payload(b"\x93\x01\x02\x03", name)) == [1, 2, 3]
    with pytest.raises(DecodeError, match="not MessagePack"):
        await client.call("basics/echo-bytes", Payload(b"\x93\x01", "application/msgpack"))
    with pytest.raises(DecodeError, match="neither JSON nor MessagePack"):
        await client.call("basics/echo-bytes", Payload(b"x", "text/plain"), output=list[int])


def test_what_json_has_a_form_for_has_the_same_here() -> None:
    moment, id = datetime.datetime(2026, 11, 21, tzinfo=datetime.timezone.utc), uuid.uuid4()
    assert Payload.msgpack([moment, id]).value() == [moment.isoformat(), str(id)]
    for wrong in (object(), 2**64):
        with pytest.raises(EncodeError, match="MessagePack"):
            Payload.msgpack(wrong)


def test_the_blocking_client_takes_it_too(blocking: Client) -> None:
    assert blocking.call("basics/echo-bytes", Payload.msgpack([b"x"])) == [b"x"]


def test_without_the_package_the_error_says_what_to_install() -> None:
    program = """
import sys
sys.modules["msgpack"] = None
from celeriac import CeleriacError, Payload
try:
    Payload.msgpack(1)
except CeleriacError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install celeriac[msgpack]" in done.stdout
