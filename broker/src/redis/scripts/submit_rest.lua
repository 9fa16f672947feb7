made = {
  check_parents = check_parents, claim = claim, clash = clash, count_blocked = count_blocked, due = due,
  end_unmet = end_unmet, follow_up = follow_up, is_called = is_called, join = join, least = least, read = read,
  scheduled = scheduled, trim_dead = trim_dead, with_defaults = with_defaults, write_dues = write_dues,
}
return made
end
