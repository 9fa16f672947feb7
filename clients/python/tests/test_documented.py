"""What the docs show of test suites passes as it stands there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from conftest import ROOT, sample

if TYPE_CHECKING:
    from pathlib import Path


def test_the_suite_in_the_docs_passes(tmp_path: Path) -> None:
    section = (ROOT / "docs/python.md").read_text().partition("## Tests of your own")[2]
    suite = section.partition("```python\n")[2].partition("```")[0]
    (tmp_path / "test_shop.py").write_text(suite)
    shutil.copy(sample("basics"), tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shop.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout, done.stdout
