-- Schedules. Additional to the layout: made where they are missing, and not known to older programs.

CREATE TABLE IF NOT EXISTS schedules (
  name      TEXT PRIMARY KEY,
  spec      TEXT NOT NULL,     -- JSON
  input     BLOB NOT NULL,
  timing    TEXT NOT NULL,     -- JSON; stands in spec too
  next      INTEGER,           -- its next time; NULL: never, or paused
  waits     INTEGER,           -- the first of the times that wait for an earlier run to end
  look_at   INTEGER,           -- when a ticker has to look at it: the next time, or at once
  is_paused INTEGER NOT NULL,
  revision  INTEGER NOT NULL   -- grows with each change
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS schedules_look ON schedules (look_at) WHERE look_at IS NOT NULL;

-- The last runs of each: `<ms> <letter> <id or ->`.
CREATE TABLE IF NOT EXISTS schedule_runs (name TEXT, seq INTEGER, run TEXT NOT NULL, PRIMARY KEY (name, seq)) STRICT, WITHOUT ROWID;

-- The times that wait behind the first one.
CREATE TABLE IF NOT EXISTS schedule_waits (name TEXT, at INTEGER, PRIMARY KEY (name, at)) STRICT, WITHOUT ROWID;

-- The runs that have not ended, however many came since.
CREATE TABLE IF NOT EXISTS schedule_unfinished (name TEXT, id BLOB, PRIMARY KEY (name, id)) STRICT, WITHOUT ROWID;
