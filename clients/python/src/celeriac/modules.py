"""Uploading modules."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ModuleRefused, TaskFailed
from .names import BUILT_IN, module_ref

if TYPE_CHECKING:
    import os

    from .client import AsyncClient

#: Seconds that an uploader waits for a host to admit: a large module takes seconds to compile.
ADMISSION_PATIENCE = 300.0


async def push(client: AsyncClient, module: str | os.PathLike[str] | bytes, name: str | None) -> dict[str, Any]:
    """Uploads a module and has a host admit it; then `name` points to it."""
    if isinstance(module, bytes):
        data = module
    else:
        path = Path(module)
        data = await asyncio.to_thread(path.read_bytes)
        name = name or path.stem
    module_ref(name or "")
    transport = (await client.open()).transport
    admitted = await transport.upload(data, name or "")
    if admitted is not None:
        return admitted
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    handle = await client.submit(f"{BUILT_IN}/admit", {"digest": digest, "name": name})
    try:
        manifest: dict[str, Any] = await handle.result(ADMISSION_PATIENCE)
    except TaskFailed as error:
        findings = error.details.get("findings") if isinstance(error.details, dict) else None
        if not findings:
            raise
        raise ModuleRefused(findings) from error
    return manifest
