#!/bin/sh
# Runs rustc for cargo-fuzz, without coverage for what we do not look at: cargo-fuzz instruments every crate,
# which makes wasmtime slow to build and to run, and fills a coverage map with code that no target aims at.
# Kept are our own crates and the parsers that stand in front of untrusted bytes.
compiler=$1
shift
case "${CARGO_PKG_NAME:-}" in
celeriac*|wasmparser|serde_json|toml|toml_*|winnow|uuid|ipnet) exec "$compiler" "$@" ;;
esac
for argument do
    shift
    case "$argument" in
    -Cpasses=sancov-module|-Cllvm-args=-sanitizer-*|-Cllvm-args=-simplifycfg-*) ;;
    *) set -- "$@" "$argument" ;;
    esac
done
exec "$compiler" "$@"
