"""The transport over a host's HTTP gateway: what a client does as `docs/http-api.md` says."""
