"""The script behind docs/parity.md takes nothing for a test that is none, and misses no number."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from conftest import ROOT


@pytest.fixture
def parity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script, looking at a tree of its own."""
    spec = importlib.util.spec_from_file_location("parity", ROOT / "tests/parity/parity.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "CONFORMANCE", tmp_path / "conformance")
    return module


def test_a_helper_is_no_test_of_rust(parity: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.rs").write_text(
        """
fn helper() {}
async fn waits() {}
#[test]
fn plain() -> Result<()> { Ok(()) }
#[tokio::test(flavor = "multi_thread")]
#[cfg(unix)]
// Why.
async fn asynchronous() {}
fn plain_but_longer() {}
"""
    )
    assert [test for test in ("plain", "asynchronous") if parity.exists(f"a.rs::{test}")] == ["plain", "asynchronous"]
    for none in ("helper", "waits", "plain_but_longer", "absent", ""):
        assert not parity.exists(f"a.rs::{none}")


def test_a_helper_is_no_test_of_python(parity: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def helper(): ...\nasync def test_one(): ...\n")
    assert parity.exists("a.py::test_one")
    for none in ("a.py::helper", "a.py::test_on", "b.py::test_one", "a.py"):
        assert not parity.exists(none)


def test_a_case_that_no_engine_plays_is_no_test(parity: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "conformance").mkdir()
    (tmp_path / "conformance/mod.rs").write_text("suite {\n    once::listed,\n}\n")
    (tmp_path / "conformance/once.rs").write_text(
        "pub(crate) async fn listed() {}\npub(crate) async fn unlisted() {}\n"
    )
    assert parity.exists("conformance/once.rs::listed")
    assert not parity.exists("conformance/once.rs::unlisted")


def test_each_number_has_one_row(parity: ModuleType) -> None:
    assert parity.miscounted([{"rows": "1–38"}, {"rows": "39–43, 44, 45–75"}]) == []
    wrong = parity.miscounted([{"rows": "2–75"}, {"rows": "7, 76"}])
    assert wrong == ["1 has no row", "7 has 2 rows", "76 is no number of a row"]
