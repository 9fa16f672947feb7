"""Invocation ids: UUIDv7 whose last 24 bits are an 8-bit partition and a 16-bit mark of the broker that issued them.

The mark tells a made-up id from one whose record has gone, without keeping anything for either.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from typing import Any

from .errors import InvalidArgument


class Namespace:
    """What a broker's ids are made with: fixed when its store is first used, the same for everybody."""

    __slots__ = ("_hash", "key", "partitions")

    def __init__(self, key: str, partitions: int = 1) -> None:
        self.key = key
        self.partitions = partitions
        self._hash = hashlib.sha256(key.encode())

    @classmethod
    def read(cls, stored: dict[str, Any]) -> Namespace:
        """As the store's layout has it: `{"key": …, "partitions": 1}`."""
        return cls(str(stored["key"]), int(stored["partitions"]))

    def issue(self, partition: int = 0) -> str:
        """A fresh id. Ids of one millisecond differ by 50 random bits, across processes and forks."""
        return self.mark(time.time_ns() // 1_000_000, os.urandom(7), partition)

    def mark(self, ms: int, random: bytes, partition: int) -> str:
        """The id made of these parts."""
        head = bytes(
            (
                *ms.to_bytes(6, "big"),
                0x70 | random[0] & 0x0F,
                random[1],
                0x80 | random[2] & 0x3F,
                *random[3:7],
                partition,
            )
        )
        # Byte 13 is the partition; 12 random bits, 6 and 32 make the rest.
        digits = (head + self._digest(head)).hex()
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    def derive(self, id: str, number: int) -> str:
        """An id that follows from `id` and a number: the same each time, and in the same partition."""
        data = bytearray(uuid.UUID(id).bytes)
        hasher = self._hash.copy()
        hasher.update(bytes(data) + number.to_bytes(8, "big"))
        digest = hasher.digest()
        # The time, the version, the variant and the partition stay as they are.
        for at in (7, 9, 10, 11, 12):
            data[at] = digest[at]
        data[14:] = self._digest(bytes(data[:14]))
        return str(uuid.UUID(bytes=bytes(data)))

    def issued(self, id: str) -> bool:
        """Whether `id` was made for this namespace. A made-up id passes once in 65,536."""
        data = uuid.UUID(id).bytes
        return self._digest(data[:14]) == data[14:]

    def _digest(self, head: bytes) -> bytes:
        hasher = self._hash.copy()
        hasher.update(head)
        return hasher.digest()[:2]


def check_id(id: str, what: str = "invocation id") -> str:
    """The id in the form that stands on the wire: 36 lower-case characters."""
    try:
        return str(uuid.UUID(id))
    except (ValueError, AttributeError, TypeError):
        raise InvalidArgument(what, str(id), "a UUID, as in `handle.id`") from None
