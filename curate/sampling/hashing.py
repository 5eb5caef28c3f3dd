"""The one hash of the sampler: fixed for ever, vectorised, the same on every machine and library version.

A key is read as little-endian 64-bit words (texts: UTF-8, the last word padded with zeros), folded with the
splitmix64 step (Steele, Lea and Flood, OOPSLA 2014, section 4), and closed with its length in bytes. Any
change here changes every catalog: `tests/curate/sampling/test_hashing.py` pins its values.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.sampling import kernels
from curate.sampling.arrays import Words

_ALL = 0xFFFFFFFFFFFFFFFF


def mix(words: Words) -> Words:
    """One splitmix64 step of each word: a bijection of 64-bit words that scatters neighbours."""
    mixed = words.copy()
    kernels.fold(mixed, np.zeros(len(words), np.int64))
    return mixed


def hash_words(*columns: npt.NDArray[np.integer], seed: int) -> Words:
    """Hash of each row of integer *columns*, all of shape (n,)."""
    state = np.full(len(columns[0]), start(seed))
    for column in (*columns, np.full(len(state), 8 * len(columns))):
        kernels.fold(state, column.astype(np.int64, copy=False))
    return state


def hash_strings(column: pa.ChunkedArray | pa.Array, seed: int) -> Words:
    """Hash of each text of *column*, whatever its chunks; a null hashes as the empty text."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [_hash_chunk(_plain(chunk), seed) for chunk in chunks if len(chunk)]
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)


def stream(seed: int, purpose: str) -> int:
    """A seed for one *purpose*, so that draws made for different purposes do not resemble each other."""
    return int(hash_strings(pa.array([purpose]), seed)[0])


def start(seed: int) -> np.uint64:
    """The state before the first word."""
    return np.uint64(mix(np.array([seed & _ALL], np.uint64))[0])


def _plain(chunk: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(chunk.type):
        chunk = chunk.dictionary_decode()
    return chunk.cast(pa.large_string())


def _hash_chunk(texts: pa.Array, seed: int) -> Words:
    _, offsets, content = texts.buffers()
    ends = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    data = np.frombuffer(content, np.uint8) if content is not None else np.empty(0, np.uint8)
    result = np.empty(len(texts), np.uint64)
    kernels.hash_texts(data, ends, start(seed), result)
    return result
