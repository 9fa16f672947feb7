"""Copies the broker's Lua scripts into the package: they live once, in `broker/src/redis/scripts`.

Which files make up a script stands in `broker/src/redis/script.rs`, the table that the Rust client is built from, and
is read from there: there is no second list that could differ. A source distribution carries the result.
"""

import re
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HERE = Path(__file__).parent
BROKER = HERE.parent.parent / "broker" / "src" / "redis"
PACKAGED = HERE / "src" / "celeriac" / "_redis" / "scripts"

# What a client calls; the others are for hosts and operators.
SCRIPTS = ("submit", "outcomes", "cancel", "list")


def table(source: str) -> dict[str, list[str]]:
    """Each script with the files that it is made of: `SUBMIT = ["prefix.lua", "submit.lua"];`."""
    rows = re.findall(r"^\s*([A-Z_]+)\s*=\s*\[([^\]]*)\];", source, re.MULTILINE)
    return {name.lower(): re.findall(r'"([^"]+)"', files) for name, files in rows}


def scripts(broker: Path = BROKER) -> dict[str, bytes]:
    """The scripts of a client as the Rust broker sends them."""
    parts = table((broker / "script.rs").read_text())
    missing = [name for name in SCRIPTS if not parts.get(name)]
    if missing:
        raise SystemExit(f"{broker / 'script.rs'} does not say what {', '.join(missing)} is made of")
    return {name: b"".join((broker / "scripts" / part).read_bytes() for part in parts[name]) for name in SCRIPTS}


def copy() -> None:
    """Writes the scripts into the package; in a source distribution they are there already."""
    if not (BROKER / "script.rs").is_file():
        if not all((PACKAGED / f"{name}.lua").is_file() for name in SCRIPTS):
            raise SystemExit("the Lua scripts are missing: build from a checkout or from a source distribution")
        return
    PACKAGED.mkdir(exist_ok=True)
    for name, source in scripts().items():
        (PACKAGED / f"{name}.lua").write_bytes(source)


class ScriptsHook(BuildHookInterface[Any]):
    """Runs before each wheel, source distribution and editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 the interface's arguments
        """Copies the scripts."""
        copy()


if __name__ == "__main__":
    copy()
