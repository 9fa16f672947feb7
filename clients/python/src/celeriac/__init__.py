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
    DependencyFailed,
    EncodeError,
    Expired,
    Failure,
    InvalidArgument,
    LimitHit,
    MemoryLimit,
    ModuleRefused,
    NoSuchModule,
    NoSuchParent,
    NoSuchTask,
    NotFound,
    OutOfFuel,
    Overloaded,
    PayloadTooLarge,
    QueueFull,
    ResultExpired,
    ResultTimeout,
    Skipped,
    TaskFailed,
    UnknownInvocation,
)
from .flow import Flow, Step, outcome_of, output_of, outputs
from .gather import as_completed, gather, wait_all
from .handle import Handle
from .options import After, Options
from .outcome import CancelResult, Event, LogRecord, Outcome, Progress, State, Status
from .payload import Payload
from .sync import Client, SyncHandle, SyncTask
from .task import Task

__all__ = [
    "After",
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
    "DependencyFailed",
    "EncodeError",
    "Event",
    "Expired",
    "Failure",
    "Flow",
    "Handle",
    "InvalidArgument",
    "LimitHit",
    "LogRecord",
    "MemoryLimit",
    "ModuleRefused",
    "NoSuchModule",
    "NoSuchParent",
    "NoSuchTask",
    "NotFound",
    "Options",
    "OutOfFuel",
    "Outcome",
    "Overloaded",
    "Payload",
    "PayloadTooLarge",
    "Progress",
    "QueueFull",
    "ResultExpired",
    "ResultTimeout",
    "Skipped",
    "State",
    "Status",
    "Step",
    "SyncHandle",
    "SyncTask",
    "Task",
    "TaskFailed",
    "UnknownInvocation",
    "as_completed",
    "gather",
    "outcome_of",
    "output_of",
    "outputs",
    "wait_all",
]
