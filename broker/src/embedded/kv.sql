-- The key-value stores of modules. Additional to layout 1: made where they are missing, and not known to older programs.

-- Rows with a rowid, so that large values stay out of the way of the index that lists keys.
CREATE TABLE IF NOT EXISTS kv (
  module     TEXT NOT NULL,
  key        TEXT NOT NULL,
  expires_at INTEGER,           -- NULL: never
  bytes      INTEGER NOT NULL,  -- of key and value
  value      BLOB NOT NULL,
  UNIQUE (module, key)
) STRICT;
CREATE INDEX IF NOT EXISTS kv_expiry ON kv (expires_at) WHERE expires_at IS NOT NULL;

-- How much each module has, what has expired and is not removed yet included.
CREATE TABLE IF NOT EXISTS kv_sizes (module TEXT PRIMARY KEY, keys INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT, WITHOUT ROWID;
