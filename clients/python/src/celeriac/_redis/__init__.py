"""The transport over Redis: what a client does as `docs/protocol.md` says."""
