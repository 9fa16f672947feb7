#!/bin/bash
# Extends a target's committed corpus by what `make fuzz` found, and keeps it small: of the inputs that reach something
# of their own it takes every n-th by size, as the corpus is a start for others and not a record.
set -euo pipefail
cd "$(dirname "$0")"
target=$1
most=150
bytes=$((200 << 10))
merged=target/merged/$target
found=target/found/$target
rm -rf "$merged"
mkdir -p "$merged" "$found"
export RUSTC_WRAPPER=$PWD/rustc.sh TMPDIR=/dev/shm
cargo fuzz run --sanitizer none "$target" "$merged" "corpus/$target" "$found" -- -merge=1 -max_len=4096
# What was merged in before is among what was merged now.
find "corpus/$target" -type f -regextype posix-extended -regex '.*/[0-9a-f]{40}' -delete
known=$(sha1sum "corpus/$target"/*)
mapfile -t files < <(find "$merged" -type f -printf '%s %p\n' | sort -n)
step=$(((${#files[@]} + most - 1) / most))
for ((i = 0; i < ${#files[@]}; i += step > 0 ? step : 1)); do
    read -r size file <<<"${files[i]}"
    bytes=$((bytes - size))
    if ((bytes < 0)); then break; fi
    # libFuzzer names files by their SHA-1. Seeds that were written by hand have names, and are there already.
    if ! grep -q "^$(basename "$file")" <<<"$known"; then cp "$file" "corpus/$target/"; fi
done
echo "$target: $(find "corpus/$target" -type f | wc -l) files, $(du -sb "corpus/$target" | cut -f1) bytes"
