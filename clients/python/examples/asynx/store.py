"""Numbers, names and what callers sent, in a SQLite file. Where a task stands is the broker's to say."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, replace
from typing import Any

TABLE = """
CREATE TABLE IF NOT EXISTS tasks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    app TEXT NOT NULL,
    queue TEXT NOT NULL,
    cname TEXT,
    -- The invocation, or the schedule.
    uuid TEXT,
    schedule TEXT,
    parent INTEGER,
    document TEXT NOT NULL,
    is_reported INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS tasks_place ON tasks (app, queue, id);
CREATE UNIQUE INDEX IF NOT EXISTS tasks_schedule ON tasks (schedule);
"""


@dataclass(frozen=True)
class Row:
    """A task."""

    id: int
    app: str
    queue: str
    cname: str | None
    uuid: str | None
    schedule: str | None
    parent: int | None
    #: What the caller sent.
    document: dict[str, Any]
    #: Whether its end was reported, or need not be.
    is_reported: bool

    def read(self) -> Row:
        """With what stands in the table as JSON taken apart."""
        document = json.loads(str(self.document))
        return replace(self, document=document, is_reported=bool(self.is_reported))


class Store:
    """The table."""

    def __init__(self, path: str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.executescript(TABLE)

    def insert(
        self,
        place: tuple[str, str],
        document: dict[str, Any],
        *,
        uuid: str | None = None,
        schedule: str | None = None,
        parent: int | None = None,
        is_reported: bool = True,
    ) -> Row:
        """Adds a task; `sqlite3.IntegrityError` when the schedule is there."""
        values = (*place, document.get("cname"), uuid, schedule, parent, json.dumps(document), is_reported)
        cursor = self._db.execute(
            "INSERT INTO tasks (app, queue, cname, uuid, schedule, parent, document, is_reported)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        )
        return self._rows("WHERE id = ?", cursor.lastrowid)[0]

    def find(self, place: tuple[str, str], kind: str, value: str | int) -> Row | None:
        """The task that an identifier names, within its application and queue; the newest of its name."""
        column = {"id": "id", "uuid": "uuid", "cname": "cname"}[kind]
        rows = self._rows(f"WHERE app = ? AND queue = ? AND {column} = ? ORDER BY id DESC LIMIT 1", *place, value)
        return rows[0] if rows else None

    def page(self, place: tuple[str, str], offset: int, limit: int) -> tuple[list[Row], int]:
        """Some tasks of a queue, the oldest first, and how many there are."""
        [total] = self._db.execute("SELECT count(*) FROM tasks WHERE app = ? AND queue = ?", place).fetchone()
        return self._rows("WHERE app = ? AND queue = ? ORDER BY id LIMIT ? OFFSET ?", *place, limit, offset), total

    def children(self, row: Row) -> list[Row]:
        """The tasks that follow it."""
        return self._rows("WHERE parent = ?", row.id)

    def unreported(self) -> list[Row]:
        """The tasks whose end is still to be reported."""
        return self._rows("WHERE is_reported = 0")

    def reported(self, row: Row) -> None:
        """Notes that its end was reported."""
        self._db.execute("UPDATE tasks SET is_reported = 1 WHERE id = ?", (row.id,))

    def delete(self, row: Row) -> None:
        """Forgets a task."""
        self._db.execute("DELETE FROM tasks WHERE id = ?", (row.id,))

    def _rows(self, where: str, *values: object) -> list[Row]:
        columns = "id, app, queue, cname, uuid, schedule, parent, document, is_reported"
        rows = self._db.execute(f"SELECT {columns} FROM tasks {where}", values).fetchall()  # noqa: S608 texts of this file
        return [Row(**dict(zip(Row.__dataclass_fields__, row))).read() for row in rows]
