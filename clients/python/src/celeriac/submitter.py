"""Turns concurrent submits into batches: what arrives while one request is under way travels in the next."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .errors import BrokerUnavailable, CeleriacError

if TYPE_CHECKING:
    from .transport import Answer, Submission, Transport

#: Most submissions in one batch: a script that takes longer would delay every other client.
MAX_BATCH = 500

#: Submissions that may wait here; then a caller that is faster than the broker waits instead of filling memory.
MAX_WAITING = 5_000


class Submitter:
    """Sends submissions in order."""

    def __init__(self, transport: Transport, patience: float) -> None:
        self._transport = transport
        self._patience = patience
        self._waiting: list[tuple[Submission, asyncio.Future[Answer]]] = []
        self._room = asyncio.Semaphore(MAX_WAITING)
        self._task: asyncio.Task[None] | None = None

    async def submit(self, submission: Submission) -> Answer:
        """What became of it; `BrokerUnavailable` when the broker does not answer."""
        async with self._room:
            answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            self._waiting.append((submission, answer))
            if self._task is None or self._task.done():
                self._task = asyncio.ensure_future(self._run())
            return await answer

    async def submit_all(self, batch: list[Submission]) -> list[Answer]:
        """What became of many, in order, without a place in the line for each."""
        answers: list[Answer] = []
        for at in range(0, len(batch), MAX_BATCH):
            answers += await self._submit(batch[at : at + MAX_BATCH])
        return answers

    def close(self, reason: CeleriacError) -> None:
        """Tells everyone who still waits."""
        if self._task is not None:
            self._task.cancel()
        for _, answer in self._waiting:
            if not answer.done():
                answer.set_result(reason)
        self._waiting.clear()

    async def _run(self) -> None:
        while self._waiting:
            pending, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            try:
                answers = await self._submit([submission for submission, _ in pending])
            except asyncio.CancelledError:
                self._waiting = pending + self._waiting
                raise
            for (_, waiting), answer in zip(pending, answers):
                # A caller that has stopped waiting does not stop the invocation.
                if not waiting.done():
                    waiting.set_result(answer)

    async def _submit(self, batch: list[Submission]) -> list[Answer]:
        try:
            return await self._patiently(batch)
        except BrokerUnavailable as error:
            return [error] * len(batch)
        except CeleriacError as error:
            if len(batch) == 1:
                return [error]
        # A gateway refuses a whole request for one that has not the right form: the others are not to pay for it.
        return [answer for submission in batch for answer in await self._submit([submission])]

    async def _patiently(self, batch: list[Submission]) -> list[Answer]:
        """Tries again while the broker does not answer. The ids stay the same: nothing is accepted twice."""
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + self._patience, 0.02
        while True:
            try:
                left = max(0.01, deadline - loop.time())
                return await asyncio.wait_for(self._transport.submit(batch), left)
            except asyncio.TimeoutError:
                raise BrokerUnavailable(self._transport.address, f"no answer within {self._patience:g} s") from None
            except BrokerUnavailable:
                if loop.time() + pause >= deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.5)
