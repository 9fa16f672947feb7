"""`celeriac stubs`: what it writes is correct Python, typed, and works."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from conftest import sample

from celeriac import AsyncClient, Client, OutOfFuel, TaskFailed
from celeriac.testing.host import binary

MODULES = ("basics", "compute", "data", "files", "http", "images", "mail", "text")


def stubs(stage: str, directory: Path, module: str, *flags: str) -> Path:
    file = directory / f"{module}{'_blocking' if flags else ''}.py"
    command = [binary(), "stubs", module, "--python", "--broker", stage, "--output", str(file), *flags]
    subprocess.run(command, check=True)
    return file


def load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"stubs_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def written(stage: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("stubs")
    with Client(stage) as client:
        for module in MODULES:
            client.push(sample(module))
            stubs(stage, directory, module)
        stubs(stage, directory, "basics", "--blocking")
    return directory


async def test_the_functions_run_their_tasks(stage: str, written: Path) -> None:
    async with AsyncClient(stage) as client:
        await run_all(client, written)


async def run_all(client: AsyncClient, written: Path) -> None:
    basics = load(written / "basics.py")
    assert await basics.add(client, a=1, b=2) == 3
    assert await basics.sleep(client, seconds=0) == {"steps": 1, "cancelled": False}
    assert await basics.noop(client) is None
    assert await basics.echo(client, input=[0]) == [0]
    assert await basics.echo_bytes(client, input=b"\x00") == b"\x00"
    handle = await basics.submit_sleep(client, seconds=0, steps=3)
    assert (await handle)["steps"] == 3
    with pytest.raises(OutOfFuel):
        await basics.spin(client, {"fuel": 10_000})
    with pytest.raises(TaskFailed):
        await basics.fail(client, message="no")
    assert await load(written / "compute.py").primes(client, up_to=10) == {"count": 4, "largest": 7}
    stats = await load(written / "text.py").word_stats(client, text="a b a")
    assert stats["distinct_words"] == 2


def test_blocking_functions_take_the_other_client(blocking: Client, written: Path) -> None:
    basics = load(written / "basics_blocking.py")
    assert basics.add(blocking, a=1, b=2) == 3
    assert basics.submit_add(blocking, a=1, b=1).result(10) == 2


USES = """
import basics
import basics_blocking
import images
import mail
from celeriac import AsyncClient, Client, Handle

async def good(client: AsyncClient) -> None:
    total: float = await basics.add(client, a=1, b=2)
    steps: int = (await basics.sleep(client, {{"countdown": 5}}, seconds=1))["steps"]
    handle: Handle[float] = await basics.submit_add(client, a=total, b=steps)
    await images.resize(client, image="", width=10, fit="cover")
    await mail.send(client, from_="a@b", subject="x", to=["c@d"])

def blocking(client: Client) -> float:
    return basics_blocking.add(client, a=1, b=2)

async def bad(client: AsyncClient) -> None:
    {bad}
"""


def checked(written: Path, bad: str) -> str:
    (written / "uses.py").write_text(USES.format(bad=bad))
    command = [sys.executable, "-m", "mypy", "--strict", "uses.py", *(f"{module}.py" for module in MODULES)]
    return subprocess.run(command, cwd=written, capture_output=True, text=True, check=False).stdout


def test_mypy_checks_the_calls(written: Path) -> None:
    output = checked(written, "pass")
    assert "Success" in output, output
    mistakes = {
        "await basics.add(client, a=1)": "Missing named argument",
        'await basics.add(client, a=1, b="2")': "incompatible type",
        "await basics.add(client, a=1, b=2, c=3)": "Unexpected keyword argument",
        'await images.resize(client, image="", fit="tear")': "incompatible type",
        '(await basics.sleep(client, seconds=1))["stops"]': "has no key",
        'await basics.noop(client, {"fule": 1})': 'expected "Options | None"',
    }
    bad = "\n    ".join(mistakes)
    output = checked(written, bad)
    for mistake in mistakes.values():
        assert mistake in output, output
    assert output.count("uses.py:") - output.count("note:") == len(mistakes), output


def test_hostile_manifests_stay_inside_their_quotes(stage: str, tmp_path: Path) -> None:
    """Whoever made the module wrote the texts in its manifest."""
    import json

    import redis

    evil = '"""\n__import__("os").system("touch pwned")\n"""'
    schema = {
        "title": evil,
        "type": "object",
        "required": [evil, "client", "class"],
        "properties": {evil: {"enum": [evil, None, 1.5]}, "client": {"type": evil}, "class": {"const": evil}},
        "$defs": {evil: {"properties": {"x": {"$ref": "#"}}}},
    }
    manifest = {
        "digest": "sha256:" + "0" * 64,
        "bytes": 1,
        "tasks": [
            {"name": "print", "doc": evil + "\\", "input_schema": schema, "output_schema": {"$ref": "#/$defs/x"}},
            {"name": "list", "doc": "", "input_schema": {"type": "object", "properties": {"bytes": True}}},
            {"name": "class", "output_schema": schema},
        ],
        "imports": [],
    }
    connection = redis.Redis.from_url(stage)
    connection.hset("cel:{0}:m:" + "0" * 64, "manifest", json.dumps(manifest))
    connection.hset("cel:{0}:names", "evil", "0" * 64 + " 0")
    try:
        file = stubs(stage, tmp_path, "evil")
    finally:
        connection.hdel("cel:{0}:names", "evil")
        connection.delete("cel:{0}:m:" + "0" * 64)
    tree = ast.parse(file.read_text())
    allowed = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.Assign, ast.Expr)
    assert all(isinstance(node, allowed) for node in tree.body)
    # What stands alone is documentation, and what is assigned a class.
    assert all(isinstance(node.value, ast.Constant) for node in tree.body if isinstance(node, ast.Expr))
    names = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
    assert names == {"_input", "print", "submit_print", "list_", "submit_list_", "class_", "submit_class_"}
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert calls <= {"TypedDict", "_input", "client.call", "client.submit", "Options", "may_be_left_out.items"}
    load(file)
