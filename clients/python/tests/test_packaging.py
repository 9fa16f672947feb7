"""What the package carries, and that it installs."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import hatch_build
from conftest import ROOT
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
