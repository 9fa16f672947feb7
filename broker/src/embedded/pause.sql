-- What is paused, what operators tell hosts, and what they see. Additional to the layout: made where they are missing, and not known to
-- older programs.

-- what: `queue:<queue>`, `host:<host>` or `task:<module>/<task>`.
CREATE TABLE IF NOT EXISTS paused (what TEXT PRIMARY KEY, since INTEGER NOT NULL) STRICT, WITHOUT ROWID;
-- How long the results of each queue are kept, where it is not the usual time.
CREATE TABLE IF NOT EXISTS retention (queue TEXT PRIMARY KEY, ttl INTEGER NOT NULL) STRICT, WITHOUT ROWID;
-- How many hosts have taken from each queue.
CREATE TABLE IF NOT EXISTS taken (queue TEXT PRIMARY KEY, count INTEGER NOT NULL) STRICT, WITHOUT ROWID;
-- Read by the host's process when its bell rings, and removed.
CREATE TABLE IF NOT EXISTS commands (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, host TEXT NOT NULL, word TEXT NOT NULL, at INTEGER NOT NULL
) STRICT;
