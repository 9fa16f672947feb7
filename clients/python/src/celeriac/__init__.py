"""The Python client of Celeriac: submit invocations, and await results that are pushed, not polled.

    from celeriac import AsyncClient

    async with AsyncClient("redis://127.0.0.1/") as client:
        print(await client.call("basics/add", {"a": 1, "b": 2}))

`AsyncClient` is for asyncio, `Client` has the same methods for everybody else.
"""

from .client import AsyncClient
from .errors import (
    BrokerUnavailable,
    BrokerUnfit,
    Cancelled,
    CeleriacError,
    ClientClosed,
    Damaged,
    DeadlineExceeded,
    DecodeError,
    EncodeError,
    Expired,
    Failure,
    InvalidArgument,
    LimitHit,
    MemoryLimit,
    ModuleRefused,
    NoSuchModule,
    NoSuchTask,
    NotFound,
    OutOfFuel,
    Overloaded,
    PayloadTooLarge,
    ResultExpired,
    ResultTimeout,
    TaskFailed,
    UnknownInvocation,
)
from .gather import as_completed, gather, wait_all
from .handle import Handle
from .options import Options
from .outcome import CancelResult, Event, LogRecord, Outcome, Progress, State, Status
from .payload import Payload
from .sync import Client, SyncHandle, SyncTask
from .task import Task

__all__ = [
    "AsyncClient",
    "BrokerUnavailable",
    "BrokerUnfit",
    "CancelResult",
    "Cancelled",
    "CeleriacError",
    "Client",
    "ClientClosed",
    "Damaged",
    "DeadlineExceeded",
    "DecodeError",
    "EncodeError",
    "Event",
    "Expired",
    "Failure",
    "Handle",
    "InvalidArgument",
    "LimitHit",
    "LogRecord",
    "MemoryLimit",
    "ModuleRefused",
    "NoSuchModule",
    "NoSuchTask",
    "NotFound",
    "Options",
    "OutOfFuel",
    "Outcome",
    "Overloaded",
    "Payload",
    "PayloadTooLarge",
    "Progress",
    "ResultExpired",
    "ResultTimeout",
    "State",
    "Status",
    "SyncHandle",
    "SyncTask",
    "Task",
    "TaskFailed",
    "UnknownInvocation",
    "as_completed",
    "gather",
    "wait_all",
]
