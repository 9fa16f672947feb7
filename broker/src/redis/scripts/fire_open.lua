-- What follows up to `fire.lua` is `submit.lua` as it is: here it is a function of its arguments.
local function submit(ARGV)
