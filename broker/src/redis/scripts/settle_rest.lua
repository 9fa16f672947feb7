made = {
  bury = bury, clock = clock, dead_cap = dead_cap, due = due, ended = ended, follow_up = follow_up, give_back = give_back,
  scheduled = scheduled, trim_dead = trim_dead, write_dues = write_dues, write_places = write_places,
}
return made
end
