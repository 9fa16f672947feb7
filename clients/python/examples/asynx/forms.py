"""What callers may send, checked in one place: a callback that is a task is checked as a task is."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator
from typing_extensions import Self

Url = Annotated[str, StringConstraints(pattern=r"(?i)^https?://[^\s]+$", max_length=2048)]
#: Part of a queue's name at the broker.
Namespace = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,30}$")]
REPORT: Literal["__report__"] = "__report__"

UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}


class Request(BaseModel):
    """An HTTP request."""

    model_config = ConfigDict(extra="forbid")

    method: str = Field(default="GET", pattern=r"^[A-Za-z]{1,20}$")
    url: Url
    headers: dict[str, str] = {}
    payload: str | None = None
    timeout: float | None = Field(default=None, gt=0)
    allow_redirects: bool | None = None
    #: Statuses that are success, such as `["200-299", "404"]`.
    expect: list[str] | None = None
    #: Attempts after the first one, while the server is unwell.
    retries: int | None = Field(default=None, ge=0, le=100)

    @field_validator("method")
    @classmethod
    def upper(cls, method: str) -> str:
        """Methods are written in capitals."""
        return method.upper()


class Callback(BaseModel):
    """A task that follows another: it starts when the other has ended, so it has no time and no name of its own."""

    model_config = ConfigDict(extra="forbid")

    request: Request
    on_success: Literal["__report__"] | Url | Callback | None = None
    on_failure: Literal["__report__"] | Url | Callback | None = REPORT
    on_complete: Literal["__report__"] | Url | Callback | None = None


class NewTask(Callback):
    """A task."""

    cname: str | None = Field(default=None, min_length=3, max_length=96)
    countdown: float | None = Field(default=None, ge=0)
    #: With its zone: no clock is meant otherwise.
    eta: AwareDatetime | None = None
    #: `every 30 seconds`, or the five fields of a crontab.
    schedule: str | None = None

    @model_validator(mode="after")
    def has_one_time(self) -> Self:
        """There is one way to say when."""
        if self.countdown is not None and self.eta is not None:
            raise ValueError("`countdown` and `eta` both say when it starts: keep one")
        if self.schedule is None:
            return self
        if self.cname is None:
            raise ValueError("a scheduled task needs a `cname`")
        if self.countdown is not None or self.eta is not None:
            raise ValueError("a scheduled task has no `countdown` and no `eta`")
        callbacks = (self.on_success, self.on_failure, self.on_complete)
        if any(callback not in (None, REPORT) for callback in callbacks):
            raise ValueError("a scheduled task has no callbacks: its last runs are in `runs`")
        timing(self.schedule)
        return self


def timing(schedule: str) -> dict[str, str | float]:
    """When a schedule fires: `every`, in seconds, or `cron`."""
    found = re.fullmatch(r"every (\d+(?:\.\d+)?) (second|minute|hour|day)s?", schedule.strip())
    if found:
        return {"every": float(found[1]) * UNITS[found[2]]}
    if len(schedule.split()) != 5:
        raise ValueError("expected `every 30 seconds` or the five fields of a crontab")
    return {"cron": schedule}
