"""Results of invocations in a table."""
