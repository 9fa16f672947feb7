-- What follows, up to where it is put into `made`, is what most calls do not need: a plain invocation has neither times, nor
-- parents, keys, bands or limits, and ends well. To make these functions costs more than all that is done for it, so they
-- are made when the first of them is asked for: `rest().finish(…)`. Who has not asked has nothing to write in the end:
-- `if made then made.write_dues(now) end`.
local made
local function rest()
if made then return made end
