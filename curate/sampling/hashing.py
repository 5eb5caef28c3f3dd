"""The one hash of the sampler: fixed for ever, vectorised, the same on every machine and library version.

A key is read as little-endian 64-bit words (texts: UTF-8, the last word padded with zeros), folded with the
splitmix64 step (Steele, Lea and Flood, OOPSLA 2014, section 4), and closed with its length in bytes. Any
change here changes every catalog: `tests/curate/sampling/test_hashing.py` pins its values.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.sampling.arrays import Words

_GOLDEN, _FIRST, _SECOND = (
    np.uint64(c) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
_ALL = 0xFFFFFFFFFFFFFFFF


def mix(words: Words) -> Words:
    """One splitmix64 step of each word: a bijection of 64-bit words that scatters neighbours."""
    mixed = words + _GOLDEN
    mixed ^= mixed >> np.uint64(30)
    mixed *= _FIRST
    mixed ^= mixed >> np.uint64(27)
    mixed *= _SECOND
    mixed ^= mixed >> np.uint64(31)
    return mixed


def hash_words(*columns: npt.NDArray[np.integer], seed: int) -> Words:
    """Hash of each row of integer *columns*, all of shape (n,)."""
    state = _start(len(columns[0]), seed)
    for column in columns:
        state = mix(state ^ column.astype(np.uint64))
    return mix(state ^ np.uint64(8 * len(columns)))


def hash_strings(column: pa.ChunkedArray | pa.Array, seed: int) -> Words:
    """Hash of each text of *column*, whatever its chunks; a null hashes as the empty text."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [_hash_chunk(_plain(chunk), seed) for chunk in chunks if len(chunk)]
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)


def stream(seed: int, purpose: str) -> int:
    """A seed for one *purpose*, so that draws made for different purposes do not resemble each other."""
    return int(hash_strings(pa.array([purpose]), seed)[0])


def _start(rows: int, seed: int) -> Words:
    return np.repeat(mix(np.array([seed & _ALL], np.uint64)), rows)


def _plain(chunk: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(chunk.type):
        chunk = chunk.dictionary_decode()
    return chunk.cast(pa.large_string())


def _hash_chunk(texts: pa.Array, seed: int) -> Words:
    rows = len(texts)
    _, offsets_buffer, bytes_buffer = texts.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64)[texts.offset : texts.offset + rows + 1]
    starts, lengths = offsets[:-1], np.diff(offsets)
    first, last = int(offsets[0]), int(offsets[-1])
    padded = np.zeros(last - first + 8, np.uint8)
    if last > first:
        padded[: last - first] = np.frombuffer(bytes_buffer, np.uint8)[first:last]
    starts = starts - first
    words = np.ndarray((len(padded) - 7,), "<u8", padded, strides=(1,))  # the word that begins at each byte
    state = _start(rows, seed)
    longest = int(lengths.max())
    alive: npt.NDArray[np.int64] | slice = slice(None)
    for begin in range(0, longest, 8):
        if not isinstance(alive, slice) or int(lengths.min()) <= begin:
            alive = np.flatnonzero(lengths > begin)
        left = np.minimum(lengths[alive] - begin, 8).astype(np.uint64)
        beyond = (np.uint64(8) - left) * np.uint64(8)  # bits of the next text, shifted out
        word = (words[starts[alive] + begin].astype(np.uint64) << beyond) >> beyond
        state[alive] = mix(state[alive] ^ word)
    return mix(state ^ lengths.astype(np.uint64))
