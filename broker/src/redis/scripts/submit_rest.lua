made = {
  check_parents = check_parents, claim = claim, clash = clash, count_blocked = count_blocked, due = due,
  end_unmet = end_unmet, follow_up = follow_up, is_called = is_called, join = join, read = read, scheduled = scheduled,
  trim_dead = trim_dead, write_dues = write_dues,
}
return made
end
