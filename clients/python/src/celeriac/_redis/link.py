"""A connection to Redis that comes back: all commands of a process share it, one reconnect serves all.

Every call may be repeated without harm, so a call that finds its connection broken is sent once more on a new
one; a second failure is the caller's to see.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import redis.exceptions
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ..errors import BrokerUnavailable, BrokerUnfit, CeleriacError, Damaged, InvalidArgument
from ..transport import small_patience

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from .scripts import Script

Argument = str | bytes | int

#: How long one answer may take, in seconds, before its connection is given up. Generous: 8 MiB on a slow line are an
#: answer too.
RESPONSE_TIMEOUT = 30.0

#: How long a command may take that carries much, in seconds: enough to be sent on a second connection, too.
LONG = 2 * RESPONSE_TIMEOUT

#: How soon a silent connection is probed: one that only listens would not notice that its server is gone.
KEEPALIVE = 15

#: What says that a connection is of no use any more.
LOST = (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError, EOFError)


@dataclass
class Sent:
    """A command that has not been answered."""

    answer: asyncio.Future[Any]
    #: Gives the connection up when there is no answer.
    late: asyncio.TimerHandle | None = None

    def end(self) -> asyncio.Future[Any]:
        """Who is to be told."""
        if self.late is not None:
            self.late.cancel()
        return self.answer


class Pipe:
    """One connection that many callers use at once: answers come in the order of the commands."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._sending = asyncio.Lock()
        #: What is to be answered, in the order of the commands.
        self._pending: deque[Sent] = deque()
        self.is_lost = False
        self._reader = asyncio.ensure_future(self._read())

    async def run(self, *command: Argument) -> Any:
        """Sends a command and awaits its answer, which may be an error of the server's."""
        loop = asyncio.get_running_loop()
        sent = Sent(loop.create_future())
        packed = self._connection.pack_command(*command)
        async with self._sending:
            if self.is_lost:
                raise redis.exceptions.ConnectionError("the connection is closed")
            self._pending.append(sent)
            try:
                await self._connection.send_packed_command(packed, check_health=False)
            except LOST as error:
                self.close(error)
                raise
        if not sent.answer.done():
            # A caller that stops waiting does not stop this: it notices a server that is gone without a word.
            late = redis.exceptions.TimeoutError("no answer in time")
            sent.late = loop.call_later(RESPONSE_TIMEOUT, self.close, late)
        return await sent.answer

    async def _read(self) -> None:
        try:
            while True:
                try:
                    answer = await self._connection.read_response(timeout=float("inf"))
                except redis.exceptions.ResponseError as error:
                    answer = error
                waiting = self._pending.popleft().end()
                if waiting.done():
                    continue
                if isinstance(answer, Exception):
                    waiting.set_exception(answer)
                else:
                    waiting.set_result(answer)
        except LOST as error:
            self.close(error)

    def close(self, reason: Exception) -> None:
        """Gives the connection up; whoever waits is told why."""
        self.is_lost = True
        self._reader.cancel()
        while self._pending:
            waiting = self._pending.popleft().end()
            if not waiting.done():
                waiting.set_exception(reason)
        hang_up(self._connection)


def hang_up(connection: AbstractConnection) -> None:
    """Closes a connection without waiting for the other side."""

    async def disconnect() -> None:
        with contextlib.suppress(*LOST, RuntimeError):
            await connection.disconnect(nowait=True)

    # The loop may be about to close; then the socket goes with it.
    with contextlib.suppress(RuntimeError):
        task = asyncio.get_running_loop().create_task(disconnect())
        _closing.add(task)
        task.add_done_callback(_closing.discard)


_closing: set[asyncio.Task[None]] = set()


class Link:
    """Opens connections and keeps the shared one."""

    def __init__(self, url: str, connect_timeout: float) -> None:
        self._connect_timeout = connect_timeout
        self._patience = small_patience(connect_timeout)
        try:
            self._pool = ConnectionPool.from_url(
                url,
                protocol=2,
                socket_timeout=None,
                socket_connect_timeout=connect_timeout,
                socket_keepalive=True,
                socket_keepalive_options={socket.TCP_KEEPIDLE: KEEPALIVE, socket.TCP_KEEPINTVL: KEEPALIVE},
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError:
            # The URL may hold a password: the error shows its scheme only.
            expected = "redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], or rediss:// for TLS"
            raise InvalidArgument("broker URL", url.partition("//")[0], expected) from None
        where = self._pool.connection_kwargs
        scheme = url.partition(":")[0]
        database = f"/{where['db']}" if where.get("db") else ""
        self.address = f"{scheme}://{where.get('host', 'localhost')}:{where.get('port', 6379)}{database}"
        self._opening = asyncio.Lock()
        self._shared: Pipe | None = None

    async def dedicated(self) -> AbstractConnection:
        """A connection for one purpose: for what blocks, and for what listens."""
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            # TLS and the greeting count too.
            await asyncio.wait_for(connection.connect(), self._connect_timeout)  # type: ignore[no-untyped-call]
        except asyncio.TimeoutError:
            hang_up(connection)
            raise self.unavailable(f"no connection within {self._connect_timeout:g} s") from None
        except (*LOST, redis.exceptions.RedisError) as error:
            raise self.error(error) from error
        return connection

    async def run(self, *command: Argument, patience: float | None = None) -> Any:
        """Runs a command on the shared connection; `patience` in seconds, else that of small commands."""
        try:
            return await self._within(patience or self._patience, self._attempt(*command))
        except redis.exceptions.RedisError as error:
            raise self.error(error) from error

    async def call(self, script: Script, *args: Argument, patience: float | None = None) -> Any:
        """Runs a script on the shared connection; loads it first where the server does not have it."""
        try:
            return await self._within(patience or self._patience, self._eval(script, *args))
        except redis.exceptions.RedisError as error:
            raise self.error(error, f"what `{script.name}` needs") from error

    async def _within(self, patience: float, answering: Coroutine[Any, Any, Any]) -> Any:
        """The answer, with whatever connecting and sending it once more takes, or that there is none in time."""
        try:
            return await asyncio.wait_for(answering, patience)
        except asyncio.TimeoutError:
            raise self.unavailable(f"no answer within {patience:g} s") from None

    async def _eval(self, script: Script, *args: Argument) -> Any:
        try:
            return await self._attempt("EVALSHA", script.sha, 1, PREFIX, *args)
        except redis.exceptions.NoScriptError:
            return await self._attempt("EVAL", script.source, 1, PREFIX, *args)

    async def close(self) -> None:
        """Closes the shared connection."""
        if self._shared is not None:
            self._shared.close(redis.exceptions.ConnectionError("the client is closed"))
            self._shared = None

    async def _attempt(self, *command: Argument) -> Any:
        try:
            return await (await self._pipe()).run(*command)
        except LOST:
            return await (await self._pipe()).run(*command)

    async def _pipe(self) -> Pipe:
        shared = self._shared
        if shared is not None and not shared.is_lost:
            return shared
        async with self._opening:
            if self._shared is None or self._shared.is_lost:
                self._shared = Pipe(await self.dedicated())
            return self._shared

    def unavailable(self, reason: str) -> BrokerUnavailable:
        """That the server does not answer."""
        return BrokerUnavailable(self.address, reason)

    def error(self, error: Exception, what: str | None = None) -> CeleriacError:
        """What an error of the server's or the connection's means; `what` is being read or written."""
        text = str(error) or type(error).__name__
        word = text.partition(" ")[0]
        if isinstance(error, redis.exceptions.AuthenticationError) or word in ("NOAUTH", "WRONGPASS"):
            remedy = "put the right user and password into the URL: redis://USER:PASSWORD@HOST"
            return BrokerUnfit(self.address, text, remedy)
        if "certificate verify failed" in text:
            remedy = "name the authority that certified it: rediss://HOST/?ssl_ca_certs=FILE, or SSL_CERT_FILE"
            return BrokerUnfit(self.address, text, remedy)
        if isinstance(error, redis.exceptions.InvalidResponse):
            remedy = f"write http://{self.address.partition('//')[2].partition('/')[0]} if it is a host's gateway"
            return BrokerUnfit(self.address, f"what answers there is no Redis ({text})", remedy)
        if isinstance(error, redis.exceptions.NoPermissionError) or word == "NOPERM":
            remedy = "allow this user all commands on keys and channels `cel:*`, or use another user"
            return BrokerUnfit(self.address, text, remedy)
        if isinstance(error, redis.exceptions.OutOfMemoryError) or word == "OOM":
            return self.unavailable("it is out of memory: raise `maxmemory`, or let hosts catch up")
        is_busy = isinstance(error, (*LOST, redis.exceptions.ReadOnlyError)) or word in BUSY
        if what is not None and not is_busy:
            return Damaged(what, text)
        return self.unavailable(text)


#: What a server says that may be well again in a moment.
BUSY = ("MISCONF", "BUSY", "NOREPLICAS", "LOADING", "READONLY", "MASTERDOWN")

#: The keys of partition 0; more partitions would be more prefixes.
PREFIX = "cel:{0}:"
