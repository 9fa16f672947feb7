-- Dead letters. Additional to the layout: made where they are missing, and not known to older programs.

-- at: when it failed for good; result_ttl: how long its record would be kept were it no dead letter; successor: the
-- invocation that takes its place.
CREATE TABLE IF NOT EXISTS dead (
  id BLOB PRIMARY KEY, at INTEGER NOT NULL, result_ttl INTEGER NOT NULL, successor BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS dead_at ON dead (at, id);

-- How many there are: counting them at each failure would take longer than all else.
CREATE TABLE IF NOT EXISTS dead_count (only INTEGER PRIMARY KEY CHECK (only = 1), letters INTEGER NOT NULL) STRICT;
INSERT OR IGNORE INTO dead_count VALUES (1, 0);
CREATE TRIGGER IF NOT EXISTS dead_comes AFTER INSERT ON dead BEGIN UPDATE dead_count SET letters = letters + 1; END;
CREATE TRIGGER IF NOT EXISTS dead_goes AFTER DELETE ON dead BEGIN UPDATE dead_count SET letters = letters - 1; END;
