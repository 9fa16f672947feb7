"""What could not be handed in, in a local file, until the broker is back.

A row is written before the caller is told that its invocation is accepted, under the id that the invocation will have,
and goes when the broker has answered. Handing in the same id twice is handing in once: whatever dies in between,
nothing is lost and nothing is there twice. Any number of processes may share the file.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import BrokerUnavailable, CeleriacError, OutboxFull, OutboxUnusable, restored, stored
from .ids import Namespace
from .names import task_ref
from .options import now_ms
from .payload import Payload
from .spans import span_ms
from .transport import Submission

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Iterator

#: The layout of the file.
LAYOUT = 1

#: How long another process may keep the file to itself, in seconds: it writes a few rows at a time.
BUSY = 10.0

#: How long it is remembered that an invocation turned out to be another, in milliseconds.
LED_KEPT = 86_400_000

TABLES = """
CREATE TABLE IF NOT EXISTS entries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    address TEXT NOT NULL,
    namespace TEXT NOT NULL,
    task TEXT NOT NULL,
    content_type TEXT NOT NULL,
    input BLOB NOT NULL,
    options TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    -- waiting; refused, with the error as JSON in fate; led, with another's id there.
    state TEXT NOT NULL DEFAULT 'waiting',
    fate TEXT,
    ended_ms INTEGER
);
CREATE INDEX IF NOT EXISTS entries_state ON entries (state, seq);
-- What ids are made with, for each store that was reached.
CREATE TABLE IF NOT EXISTS stores (address TEXT PRIMARY KEY, key TEXT NOT NULL, partitions INTEGER NOT NULL);
"""


@dataclass(frozen=True)
class Waiting:
    """An invocation that waits in the outbox."""

    id: str
    task: str
    #: When it was submitted, by this machine's clock: milliseconds since 1970.
    submitted_at_ms: int
    #: Bytes of its input.
    size: int


@dataclass(frozen=True)
class Refused:
    """An invocation that the broker did not take when it was handed in. It stays here until it is discarded."""

    id: str
    task: str
    submitted_at_ms: int
    refused_at_ms: int
    input: Payload
    #: Why: what a submit would have raised.
    error: CeleriacError


@dataclass(frozen=True)
class Entry:
    """A row that waits."""

    seq: int
    submission: Submission
    at_ms: int


class Outbox:
    """A file of invocations that wait for their broker: `AsyncClient(url, outbox=Outbox("outbox.db"))`."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_count: int = 10_000,
        max_bytes: int = 64 << 20,
        max_age: float | datetime.timedelta | str = "1d",
        on_refused: Callable[[Refused], object] | None = None,
    ) -> None:
        self.path = Path(path)
        #: The most that may be in it, refusals that nobody has discarded included.
        self.max_count = max_count
        #: The most bytes of input that may be in it.
        self.max_bytes = max_bytes
        #: It takes no more once something has waited for so long.
        self.max_age_ms = span_ms("max_age", max_age)
        #: Called with each refusal, in the process that was told of it.
        self.on_refused = on_refused
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        _outboxes.add(self)

    @classmethod
    def of(cls, outbox: Outbox | str | os.PathLike[str] | None) -> Outbox | None:
        """The outbox that a caller has named."""
        return outbox if outbox is None or isinstance(outbox, Outbox) else cls(outbox)

    def __repr__(self) -> str:
        return f"Outbox({str(self.path)!r})"

    # ---- for people -------------------------------------------------------------------------------

    def pending(self) -> list[Waiting]:
        """What waits, from all processes, the oldest first."""
        with self._open() as db:
            rows = db.execute(
                "SELECT id, task, at_ms, length(input) FROM entries WHERE state = 'waiting' ORDER BY seq"
            ).fetchall()
        return [Waiting(*row) for row in rows]

    def refused(self) -> list[Refused]:
        """What the broker has not taken, the oldest first."""
        with self._open() as db:
            rows = db.execute(
                "SELECT id, task, at_ms, ended_ms, input, content_type, fate FROM entries"
                " WHERE state = 'refused' ORDER BY seq"
            ).fetchall()
        return [
            Refused(id, task, at_ms, ended_ms, Payload(input, content_type), restored(json.loads(fate)))
            for id, task, at_ms, ended_ms, input, content_type, fate in rows
        ]

    def discard(self, id: str) -> bool:
        """Forgets a refusal; false when there is none for this id. What waits cannot be taken back."""
        with self._open() as db:
            return db.execute("DELETE FROM entries WHERE id = ? AND state = 'refused'", (id,)).rowcount > 0

    # ---- for the courier --------------------------------------------------------------------------

    def learn(self, address: str, namespace: Namespace) -> None:
        """Notes what ids are made with at this address, for the time when nobody answers there."""
        known = self.namespace(address)
        if known is None or known.key != namespace.key:
            with self._open() as db:
                row = (address, namespace.key, namespace.partitions)
                db.execute("INSERT OR REPLACE INTO stores VALUES (?, ?, ?)", row)

    def namespace(self, address: str) -> Namespace | None:
        """What ids are made with there; none before somebody has been there."""
        with self._open() as db:
            row = db.execute("SELECT key, partitions FROM stores WHERE address = ?", (address,)).fetchone()
        return None if row is None else Namespace(*row)

    def add(self, batch: list[Submission], address: str, namespace: str) -> None:
        """Writes all of a batch, or nothing. When this returns it is on disk."""
        now = now_ms()
        try:
            with self._open() as db:
                self._make_room(db, batch, address, now)
                db.executemany(
                    "INSERT OR IGNORE INTO entries (id, address, namespace, task, content_type, input, options, at_ms)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    [
                        (one.id, address, namespace, one.task.text, one.input.content_type, one.input.data,
                         json.dumps(one.options), now)
                        for one in batch
                    ],
                )  # fmt: skip
        except OutboxUnusable as error:
            raise BrokerUnavailable(address, f"it cannot be reached, and {error}") from error

    def _make_room(self, db: sqlite3.Connection, batch: list[Submission], address: str, now: int) -> None:
        db.execute("DELETE FROM entries WHERE state = 'led' AND ended_ms < ?", (now - LED_KEPT,))
        count, size, oldest = db.execute(
            "SELECT count(*), coalesce(sum(length(input)), 0), min(CASE state WHEN 'waiting' THEN at_ms END)"
            " FROM entries WHERE state != 'led'"
        ).fetchone()
        full = None
        if count + len(batch) > self.max_count:
            full = f"{count} invocations, and {self.max_count} may be (`max_count`)"
        elif size + sum(len(one.input.data) for one in batch) > self.max_bytes:
            full = f"{size} bytes of input, and {self.max_bytes} may be (`max_bytes`)"
        elif oldest is not None and now - oldest > self.max_age_ms:
            full = f"something that has waited for {(now - oldest) // 1000} s, longer than `max_age`"
        if full is not None:
            raise OutboxFull(address, str(self.path), full)

    def has_waiting(self, address: str, namespace: str) -> bool:
        """Whether anything waits for this store, or for what was at this address."""
        with self._open() as db:
            row = db.execute(
                "SELECT 1 FROM entries WHERE state = 'waiting' AND (namespace = ? OR address = ?) LIMIT 1",
                (namespace, address),
            ).fetchone()
        return row is not None

    def head(self, address: str, namespace: str, behind: int, limit: int) -> list[tuple[Entry, bool]]:
        """What waits behind this number, in order; false for what was meant for another store at this address."""
        with self._open() as db:
            rows = db.execute(
                "SELECT seq, id, task, content_type, input, options, at_ms, namespace = ? FROM entries"
                " WHERE state = 'waiting' AND seq > ? AND (namespace = ? OR address = ?) ORDER BY seq LIMIT ?",
                (namespace, behind, namespace, address, limit),
            ).fetchall()
        made = []
        for seq, id, task, content_type, input, options, at_ms, is_ours in rows:
            payload = Payload(input, content_type)
            # Whoever still waits for it asks for its outcome when it is there.
            submission = Submission(id, task_ref(task), payload, json.loads(options), is_awaited=False)
            made.append((Entry(seq, submission, at_ms), bool(is_ours)))
        return made

    def settle(self, answers: dict[str, str | CeleriacError]) -> None:
        """Notes what became of entries that were handed in: the id that each has, or why it was refused."""
        now = now_ms()
        with self._open() as db:
            for id, answer in answers.items():
                if answer == id:
                    db.execute("DELETE FROM entries WHERE id = ?", (id,))
                    continue
                is_led = isinstance(answer, str)
                fate = answer if isinstance(answer, str) else json.dumps(stored(answer))
                db.execute(
                    "UPDATE entries SET state = ?, fate = ?, ended_ms = ? WHERE id = ? AND state = 'waiting'",
                    ("led" if is_led else "refused", fate, now, id),
                )

    def fates(self, ids: list[str]) -> dict[str, str | CeleriacError | None]:
        """Of those that are in it: none while it waits, the id of another, or why it was refused."""
        made: dict[str, str | CeleriacError | None] = {}
        with self._open() as db:
            for id in ids:
                row = db.execute("SELECT state, fate FROM entries WHERE id = ?", (id,)).fetchone()
                if row is not None:
                    state, fate = row
                    made[id] = restored(json.loads(fate)) if state == "refused" else fate
        return made

    @contextlib.contextmanager
    def turn(self) -> Iterator[bool]:
        """Whether it is this one's turn to hand in: one at a time, or their order would be lost."""
        if not self._turn.acquire(blocking=False):
            yield False
            return
        try:
            with self.path.with_name(self.path.name + "-turn").open("w") as file:
                try:
                    # Goes with its process, and a fork does not take it along.
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    yield False
                else:
                    yield True
        finally:
            self._turn.release()

    # ---- the file ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Closes its file, as a client does in the end. Whoever needs it opens it again."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """One transaction."""
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._connect()
                # Taken at once: a transaction that reads first might not be allowed to write later.
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                    self._connection.execute("COMMIT")
                finally:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
            except (sqlite3.Error, OSError) as error:
                raise OutboxUnusable(str(self.path), str(error)) from error

    def _connect(self) -> sqlite3.Connection:
        # Inputs are nobody else's business.
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        db = sqlite3.connect(self.path, timeout=BUSY, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA journal_mode = WAL")
        # Each commit is on disk before it returns.
        db.execute("PRAGMA synchronous = FULL")
        [version] = db.execute("PRAGMA user_version").fetchone()
        if version not in (0, LAYOUT):
            db.close()
            reason = f"it has layout {version}, and this version knows {LAYOUT}: use another file"
            raise OutboxUnusable(str(self.path), reason)
        db.executescript(TABLES)
        db.execute(f"PRAGMA user_version = {LAYOUT}")
        return db


def aged(entry: Entry, now: int) -> dict[str, Any]:
    """The options of an entry, with the time that it has waited taken off each span: it was submitted back then."""
    options = dict(entry.submission.options)
    waited = max(0, now - entry.at_ms)
    for name, least in (("start", 0), ("expires", 1), ("deadline", 1)):
        if "in_ms" in options.get(name, ()):
            options[name] = {"in_ms": max(least, options[name]["in_ms"] - waited)}
    return options


_outboxes: weakref.WeakSet[Outbox] = weakref.WeakSet()
#: Those that wait for a fork to be over.
_held: list[Outbox] = []


def _before_fork() -> None:
    """Closes every file: SQLite must not be taken across a fork, where its locks would never be released."""
    for outbox in list(_outboxes):
        outbox._lock.acquire()
        if outbox._connection is not None:
            outbox._connection.close()
            outbox._connection = None
        _held.append(outbox)


def _after_fork() -> None:
    while _held:
        _held.pop()._lock.release()


def _in_child() -> None:
    _after_fork()
    for outbox in list(_outboxes):
        # A thread that is not here any more may have had the turn.
        outbox._turn = threading.Lock()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)
