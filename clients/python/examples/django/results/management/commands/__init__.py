"""Commands: `demo` and `receive`."""
