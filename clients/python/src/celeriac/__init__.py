"""The Python client of Celeriac: submit invocations, and await results that are pushed, not polled.

    from celeriac import AsyncClient

    async with AsyncClient("redis://127.0.0.1/") as client:
        print(await client.call("basics/add", {"a": 1, "b": 2}))

`AsyncClient` is for asyncio, `Client` has the same methods for everybody else.
"""

from .client import AsyncClient
from .dead_letters import BulkRetry, DeadFilter, DeadLetter
from .dependency import After
from .errors import (
    BrokerUnavailable,
    BrokerUnfit,
    Cancelled,
    CeleriacError,
    ClientClosed,
    Conflict,
    Damaged,
    DeadlineExceeded,
    DecodeError,
    DependencyFailed,
    EncodeError,
    Expired,
    Failure,
    GatewayNeeded,
    IdempotencyConflict,
    InvalidArgument,
    LimitHit,
    MemoryLimit,
    ModuleRefused,
    NoDeadLetter,
    NoSuchModule,
    NoSuchParent,
    NoSuchSchedule,
    NoSuchTask,
    NotFound,
    NotUnique,
    OutboxFull,
    OutboxUnusable,
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
from .listing import BulkCancel, Filter
from .once import Unique
from .options import Options
from .outbox import Outbox, Refused, Waiting
from .outcome import CancelResult, Event, LogRecord, Outcome, Progress, State, Status
from .payload import Payload
from .schedules import Run, Schedule
from .sync import Client, SyncTask
from .sync_flow import SyncFlow, SyncStep
from .sync_handle import SyncHandle
from .task import Task

__all__ = [
    "After",
    "AsyncClient",
    "BrokerUnavailable",
    "BrokerUnfit",
    "BulkCancel",
    "BulkRetry",
    "CancelResult",
    "Cancelled",
    "CeleriacError",
    "Client",
    "ClientClosed",
    "Conflict",
    "Damaged",
    "DeadFilter",
    "DeadLetter",
    "DeadlineExceeded",
    "DecodeError",
    "DependencyFailed",
    "EncodeError",
    "Event",
    "Expired",
    "Failure",
    "Filter",
    "Flow",
    "GatewayNeeded",
    "Handle",
    "IdempotencyConflict",
    "InvalidArgument",
    "LimitHit",
    "LogRecord",
    "MemoryLimit",
    "ModuleRefused",
    "NoDeadLetter",
    "NoSuchModule",
    "NoSuchParent",
    "NoSuchSchedule",
    "NoSuchTask",
    "NotFound",
    "NotUnique",
    "Options",
    "OutOfFuel",
    "Outbox",
    "OutboxFull",
    "OutboxUnusable",
    "Outcome",
    "Overloaded",
    "Payload",
    "PayloadTooLarge",
    "Progress",
    "QueueFull",
    "Refused",
    "ResultExpired",
    "ResultTimeout",
    "Run",
    "Schedule",
    "Skipped",
    "State",
    "Status",
    "Step",
    "SyncFlow",
    "SyncHandle",
    "SyncStep",
    "SyncTask",
    "Task",
    "TaskFailed",
    "Unique",
    "UnknownInvocation",
    "Waiting",
    "as_completed",
    "gather",
    "outcome_of",
    "output_of",
    "outputs",
    "wait_all",
]
