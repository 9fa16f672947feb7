"""Writes docs/parity.md: what users of other systems can do, and the test that proves each row.

    python3 tests/parity/parity.py            writes the page; fails when a named test does not exist, or a number has no row
    python3 tests/parity/parity.py --check    fails when the page is stale, or a named test does not exist
    python3 tests/parity/parity.py --run      runs every named test, too, and fails when one does not pass

Rust tests are run with `cargo test`, Python ones with pytest from `target/python`; `CARGO` and `PROFILE` (`--release`) may
say how.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROWS = Path(__file__).parent / "rows.toml"
PAGE = ROOT / "docs/parity.md"
CONFORMANCE = ROOT / "broker/tests/conformance"

HEAD = """# Parity

What users of five systems can do there, where they stumble, and what it is here. Each row names a test that proves it; the
page is written by [tests/parity/parity.py](../tests/parity/parity.py), which fails when a test does not exist, and with `--run`
when one does not pass: `make parity`.

**A** awaits Celery from Tornado, **B** is Tornado's own ways with tornado-celery, **C** is asynx, a Celery service that
dispatches HTTP calls, **D** is Flask with Celery, **E** is simple_async, a pool of threads for Django. A row that is not whole
says what is missing.

| # | capability | from | the trap there | here | proved by |
|---|---|---|---|---|---|
"""


#: The rows that there are.
NUMBERS = range(1, 76)

#: What makes a function of Rust a test. Other attributes and comments may stand between it and the function.
RUST_TEST = r"#\[(?:tokio::)?test(?:\([^]]*\))?\]\s*(?:(?:#\[[^]]*\]|//[^\n]*)\s*)*(?:async\s+)?fn {test}\b"


def exists(name: str) -> bool:
    """Whether `file::test` is a test, and not some function of that name."""
    file, _, test = name.partition("::")
    path = ROOT / file
    if not path.is_file() or not test.isidentifier():
        return False
    text = path.read_text()
    if path.suffix == ".py":
        return test.startswith("test_") and re.search(rf"^(async )?def {test}\(", text, re.MULTILINE) is not None
    if path.parent == CONFORMANCE:
        # A case that no engine is asked to pass proves nothing.
        cases = re.findall(r"^\s+(\w+::\w+),$", (CONFORMANCE / "mod.rs").read_text(), re.MULTILINE)
        return f"{path.stem}::{test}" in cases and re.search(rf"fn {test}\b", text) is not None
    return re.search(RUST_TEST.replace("{test}", test), text) is not None


def numbers(text: str) -> list[int]:
    """The rows that `39–43, 46` names."""
    found = []
    for part in text.split(","):
        first, _, last = part.partition("–")
        found += range(int(first), int(last or first) + 1)
    return found


def miscounted(rows: list[dict]) -> list[str]:
    """What is wrong with the numbers of the rows: each must be there, once."""
    named = [number for row in rows for number in numbers(row["rows"])]
    absent = [f"{number} has no row" for number in NUMBERS if number not in named]
    double = [f"{number} has {named.count(number)} rows" for number in sorted(set(named)) if named.count(number) > 1]
    strange = [f"{number} is no number of a row" for number in sorted(set(named)) if number not in NUMBERS]
    return absent + double + strange


def page(rows: list[dict]) -> str:
    """The whole page."""
    lines = []
    for row in rows:
        proofs = []
        for name in row["tests"]:
            file, _, test = name.partition("::")
            proofs.append(f"[{test}](../{file})")
        missing = f" **Missing:** {row['missing']}" if "missing" in row else ""
        cells = (row["rows"], row["what"], row["from"], row.get("trap", ""), row["here"] + missing, "<br>".join(proofs))
        lines.append("| " + " | ".join(cells) + " |\n")
    return HEAD + "".join(lines)


def command(name: str) -> list[str]:
    """How a test is run."""
    file, _, test = name.partition("::")
    if file.endswith(".py"):
        return [str(ROOT / "target/python/bin/python"), "-m", "pytest", "-q", f"{ROOT / file}::{test}"]
    cargo = [os.environ.get("CARGO", "cargo"), "test", "-q", *os.environ.get("PROFILE", "--release --locked").split()]
    parts = Path(file).parts
    # tests/tests/all/flow.rs is module `flow` of the binary `all`; host/tests/cli.rs is a binary of its own.
    binary = parts[parts.index("tests", 1) + 1].removesuffix(".rs") if "tests" in parts[1:] else ""
    if parts[:3] == ("broker", "tests", "conformance"):
        # Cases that both engines pass.
        return [*cargo, "--workspace", "--test", "conformance_embedded", "--test", "conformance_redis", "--", test]
    return [*cargo, "--workspace", *(["--test", binary] if binary else ["--lib"]), "--", test]


def run(rows: list[dict]) -> list[str]:
    """The tests that do not pass."""
    failed = []
    for name in dict.fromkeys(name for row in rows for name in row["tests"]):
        directory = ROOT / "clients/python" if name.endswith(".py") or ".py::" in name else ROOT
        done = subprocess.run(command(name), cwd=directory, capture_output=True, text=True, check=False)
        # A filter that matches nothing is no proof.
        counts = re.findall(r"(\d+) passed", done.stdout)
        is_proved = done.returncode == 0 and any(int(count) > 0 for count in counts)
        print(f"{'ok    ' if is_proved else 'FAILED'} {name}", flush=True)
        if not is_proved:
            failed.append(name)
            print(done.stdout[-2000:] + done.stderr[-2000:])
    return failed


def main() -> int:
    """Does what the arguments say."""
    rows = tomllib.loads(ROWS.read_text())["row"]
    absent = [name for row in rows for name in row["tests"] if not exists(name)]
    for name in absent:
        print(f"there is no test {name}: correct {ROWS.relative_to(ROOT)}", file=sys.stderr)
    unproved = [row["rows"] for row in rows if not row["tests"] and "missing" not in row]
    for row in unproved:
        print(f"row {row} has neither a test nor says what is missing", file=sys.stderr)
    wrong = miscounted(rows)
    for problem in wrong:
        print(f"number {problem}: correct {ROWS.relative_to(ROOT)}", file=sys.stderr)
    if absent or unproved or wrong:
        return 1
    fresh = page(rows)
    if "--check" in sys.argv:
        if not PAGE.is_file() or PAGE.read_text() != fresh:
            print("docs/parity.md is stale: python3 tests/parity/parity.py", file=sys.stderr)
            return 1
    else:
        PAGE.write_text(fresh)
    return 1 if "--run" in sys.argv and run(rows) else 0


if __name__ == "__main__":
    sys.exit(main())
