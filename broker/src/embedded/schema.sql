-- Layout 3 of an embedded store. Times are milliseconds since the Unix epoch, by the store's clock.
--
-- Where an invocation stands is said once: `invocations.state` when it has ended, else a row of
-- `leases` when it runs, of `scheduled` when it waits for a time, of `blocked` when it waits for others, else of `ready`. What changes before the end (how often it was taken,
-- given back, and lost by a crash) travels in those small rows, so that the record is written twice
-- in its life: when it is accepted and when it ends.

CREATE TABLE namespace (only INTEGER PRIMARY KEY CHECK (only = 1), key TEXT NOT NULL, partitions INTEGER NOT NULL) STRICT;

-- The last time that was given out, at most 100 ms old.
CREATE TABLE clock (only INTEGER PRIMARY KEY CHECK (only = 1), ms INTEGER NOT NULL) STRICT;
INSERT INTO clock VALUES (1, 0);

CREATE TABLE invocations (
  id           BLOB PRIMARY KEY,  -- 16 bytes; UUIDv7, so that rows are appended
  header       TEXT NOT NULL,     -- JSON
  input        BLOB,              -- NULL when it is large (see payloads), or needed no more
  big_input    INTEGER NOT NULL,  -- whether it is in payloads
  digest       BLOB,              -- the module that every attempt runs; NULL for built-in tasks
  queue        TEXT NOT NULL,
  pos          INTEGER NOT NULL,  -- its last place in ready
  list         TEXT,              -- its last list in ready; NULL: its queue's normal band
  submitted_at INTEGER NOT NULL,
  waiters      TEXT,              -- clients, separated by blanks
  result_ttl   INTEGER,           -- NULL: the broker's default
  start_by     INTEGER,           -- when it expires unless it was started; NULL: never
  deadline     INTEGER,           -- when it fails unless it has ended; NULL: never
  more         TEXT,              -- the features that it uses: JSON; NULL: none
  awaited      INTEGER,           -- how many that wait, or have waited, for it have not ended: until then it is kept
  chain        INTEGER,           -- how long the chain of those that it waits for is; NULL: it waits for nothing
  -- All NULL until it has ended:
  state        TEXT,
  head         TEXT,              -- JSON
  output       BLOB,              -- NULL when there is none, or when it is large
  token        TEXT,              -- under which it was settled
  attempts     INTEGER,
  crashes      INTEGER,
  cancel       INTEGER,
  expires_at   INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX invocations_expiry ON invocations (expires_at) WHERE expires_at IS NOT NULL;

-- Inputs and outputs above 1 KiB: SQLite writes a changed row as a whole.
CREATE TABLE payloads (id BLOB, kind TEXT, data BLOB NOT NULL, PRIMARY KEY (id, kind)) STRICT, WITHOUT ROWID;

-- What waits for a host, in lists: `default` (the normal band), `default:0` (the high one), `default:1 @key` (the lane of
-- a fairness key). An entry with a lane is the turn of that key: its id is empty.
-- What a limit holds back stands in `default:1 !scope` and `default:1 !scope @key`; an entry with a scope was let go by it. taken: tokens made so far; given_back: those that did not count; crashes:
-- hosts lost; since: when it might first have been taken.
CREATE TABLE ready (
  list TEXT, pos INTEGER, id BLOB NOT NULL,
  taken INTEGER NOT NULL, given_back INTEGER NOT NULL, crashes INTEGER NOT NULL, since INTEGER NOT NULL,
  lane TEXT, scope TEXT,
  PRIMARY KEY (list, pos)
) STRICT, WITHOUT ROWID;

-- What operators bound: JSON. Depths of the queues that are bounded, kept by triggers that `depth.rs` makes.
CREATE TABLE limits (scope TEXT PRIMARY KEY, config TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE held (scope TEXT, id BLOB, PRIMARY KEY (scope, id)) STRICT, WITHOUT ROWID;  -- what counts, with its lease
CREATE INDEX held_id ON held (id);
CREATE TABLE buckets (scope TEXT PRIMARY KEY, tokens REAL NOT NULL, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE parked (scope TEXT, queue TEXT, PRIMARY KEY (scope, queue)) STRICT, WITHOUT ROWID;  -- where some wait for it
CREATE TABLE alarms (name TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;  -- @scope: room again; ~scope: check
CREATE INDEX alarms_at ON alarms (at);
CREATE TABLE depths (queue TEXT PRIMARY KEY, most INTEGER NOT NULL, n INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- Where the turn of each lane stands.
CREATE TABLE lanes (list TEXT PRIMARY KEY, main TEXT NOT NULL, pos INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- Places given while something had aged in a lower band.
CREATE TABLE turns (queue TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- What waits for a time.
CREATE TABLE scheduled (
  id BLOB PRIMARY KEY, queue TEXT NOT NULL, starts_at INTEGER NOT NULL,
  taken INTEGER NOT NULL, given_back INTEGER NOT NULL, crashes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX scheduled_starts ON scheduled (starts_at);

-- What waits for others. pending: how many have not ended; starts_at: when it may start besides; look_at: when it is checked.
CREATE TABLE blocked (
  id BLOB PRIMARY KEY, queue TEXT NOT NULL, pending INTEGER NOT NULL, skips INTEGER NOT NULL, starts_at INTEGER,
  look_at INTEGER NOT NULL, ttl INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX blocked_looks ON blocked (look_at);

-- Who waits, or has waited, for whom, until it has ended. wants: s, f or d.
CREATE TABLE edges (parent BLOB, child BLOB, wants TEXT NOT NULL, PRIMARY KEY (parent, child)) STRICT, WITHOUT ROWID;
CREATE INDEX edges_child ON edges (child);

-- What invocations have called: those that a cancel with children stops too.
CREATE TABLE children (parent BLOB, child BLOB, PRIMARY KEY (parent, child)) STRICT, WITHOUT ROWID;

-- What follows from ends and is not done yet. state: the dependents of id after `told` are to be told of it; NULL: the parents
-- of id are to be let go; `felled`: what id has called after `told` is to be cancelled.
CREATE TABLE untold (seq INTEGER PRIMARY KEY, id BLOB NOT NULL, state TEXT, told BLOB, ttl INTEGER NOT NULL) STRICT;

-- When what waits, in ready or in scheduled, expires or is past its deadline.
CREATE TABLE ends (id BLOB PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX ends_at ON ends (at);

-- The attempts that failed and were followed by another: JSON.
CREATE TABLE trails (id BLOB PRIMARY KEY, data TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- What runs. The token is `<host>.<taken>`.
CREATE TABLE leases (
  id BLOB PRIMARY KEY, host TEXT NOT NULL, until INTEGER NOT NULL,
  taken INTEGER NOT NULL, given_back INTEGER NOT NULL, crashes INTEGER NOT NULL, cancel INTEGER NOT NULL,
  holds INTEGER NOT NULL  -- whether it has rows in held
) STRICT, WITHOUT ROWID;
CREATE INDEX leases_until ON leases (until);

CREATE TABLE queues (queue TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;

CREATE TABLE progress (id BLOB PRIMARY KEY, data TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE events (
  id BLOB, seq INTEGER, at INTEGER NOT NULL, attempt INTEGER NOT NULL,
  kind TEXT NOT NULL, content_type TEXT NOT NULL, data BLOB NOT NULL,
  PRIMARY KEY (id, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE blobs (digest BLOB PRIMARY KEY, data BLOB NOT NULL, expires_at INTEGER) STRICT, WITHOUT ROWID;
CREATE TABLE modules (digest BLOB PRIMARY KEY, manifest TEXT NOT NULL, uses INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE tasks (digest BLOB, task TEXT, queue TEXT, PRIMARY KEY (digest, task)) STRICT, WITHOUT ROWID;
CREATE TABLE names (name TEXT PRIMARY KEY, digest BLOB NOT NULL, moved_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE hosts (host TEXT PRIMARY KEY, info TEXT NOT NULL, seen_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE interrupts (host TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- Who wants to hear of `c:<client>`, `h:<host>` or `e:<invocation>`, and the bell to ring.
CREATE TABLE listeners (topic TEXT, bell TEXT, PRIMARY KEY (topic, bell)) STRICT, WITHOUT ROWID;
CREATE INDEX listeners_bell ON listeners (bell);
-- What clients in other processes have to be told.
CREATE TABLE replies (client TEXT, seq INTEGER, id BLOB NOT NULL, PRIMARY KEY (client, seq)) STRICT, WITHOUT ROWID;
