"""What the package carries, and that it installs."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import hatch_build
import pytest
from conftest import ROOT, sample
from hatch_build import SCRIPTS, scripts, table

from celeriac._redis.scripts import script

PROJECT = ROOT / "clients/python"


def test_the_packaged_scripts_are_the_brokers() -> None:
    for name, source in scripts().items():
        assert script(name).source == source, f"`make need-python` copies {name} again"


def test_the_table_is_read_as_the_compiler_reads_it() -> None:
    parts = table((hatch_build.BROKER / "script.rs").read_text())
    assert set(SCRIPTS) <= set(parts)
    for files in parts.values():
        assert all((hatch_build.BROKER / "scripts" / file).is_file() for file in files)


def test_wheel_and_source_distribution_carry_the_scripts_and_the_types(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(PROJECT)]
    subprocess.run(build, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    [source] = tmp_path.glob("*.tar.gz")
    packed = zipfile.ZipFile(wheel)
    assert "celeriac/py.typed" in packed.namelist()
    for name, content in scripts().items():
        assert packed.read(f"celeriac/_redis/scripts/{name}.lua") == content
    with tarfile.open(source) as archive:
        names = {member.name.partition("/")[2] for member in archive}
        assert {f"src/celeriac/_redis/scripts/{name}.lua" for name in SCRIPTS} <= names
        # A wheel can be built from it, far from any checkout.
        archive.extractall(tmp_path / "unpacked", filter="data")
    [unpacked] = (tmp_path / "unpacked").iterdir()
    again = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--wheel",
        "--outdir",
        str(tmp_path / "again"),
        str(unpacked),
    ]
    subprocess.run(again, check=True, capture_output=True)
    [rebuilt] = (tmp_path / "again").glob("*.whl")
    assert zipfile.ZipFile(rebuilt).namelist() == packed.namelist()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an empty environment into which nothing but the built wheel was installed."""
    directory = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(directory), str(PROJECT)]
    subprocess.run(build, check=True, capture_output=True)
    [wheel] = directory.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(directory / "venv")], check=True)
    python = directory / "venv/bin/python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", str(wheel)], check=True)
    return python


def test_the_lines_of_the_readme_work_from_the_wheel_alone(installed: Path, url: str) -> None:
    [program] = re.findall(r"```python\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)
    program = program.replace("redis://127.0.0.1/", url).replace(
        "tasks/target/wasm32-wasip2/release/basics.wasm", str(sample("basics"))
    )
    # Away from the checkout: what is imported is what was installed.
    done = subprocess.run([str(installed), "-I", "-c", program], cwd="/", capture_output=True, text=True, check=False)
    assert done.stdout == "3.0\n", done.stderr
