"""Randomness by name: every random number follows from the archive's seed and what it is for."""

from __future__ import annotations

import hashlib

import numpy as np


def key(*names: object) -> int:
    """A stable 64-bit number for *names*: the same on any machine, in any process."""
    text = "\x1f".join(map(str, names))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def generator(*names: object) -> np.random.Generator:
    """A random generator of its own for *names*."""
    return np.random.Generator(np.random.SFC64(key(*names)))
