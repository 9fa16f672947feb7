-- What the shared parts expect, for the scripts that need nothing else.
local P = KEYS[1]

