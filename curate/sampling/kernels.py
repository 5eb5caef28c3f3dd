"""The sampler's inner loops, over rows: hashing, looking cells up, counting kinds, and picking candidates.

Whole numbers throughout, so that every machine finds the same. What each computes is said where it is used.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from curate.compiled import compiled
from curate.sampling.arrays import Ints, Mask, Small, Words

_GOLDEN, _FIRST, _SECOND = (
    np.uint64(c) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
_0, _8, _16, _27, _30, _31, _34, _48, _50 = (np.uint64(c) for c in (0, 8, 16, 27, 30, 31, 34, 48, 50))
_HALF, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)
_SHORT_RUN = 24  # rows that are compared with each other one by one
_CODE_BITS = 18  # of the upper half of a priority, below its spatial code


@compiled
def mix_one(word: np.uint64) -> np.uint64:
    """One splitmix64 step (`hashing`)."""
    mixed = word + _GOLDEN
    mixed = (mixed ^ (mixed >> _30)) * _FIRST
    mixed = (mixed ^ (mixed >> _27)) * _SECOND
    return mixed ^ (mixed >> _31)


@compiled
def hash_texts(data: npt.NDArray[np.uint8], offsets: Ints, state: np.uint64, result: Words) -> None:
    """Hash of each text: bytes data[offsets[i]:offsets[i + 1]], eight at a time."""
    for i in range(len(result)):
        begin, end = offsets[i], offsets[i + 1]
        found = state
        at = begin
        while at < end:
            word = _0
            for k in range(min(8, end - at)):
                word |= np.uint64(data[at + k]) << (_8 * np.uint64(k))
            found = mix_one(found ^ word)
            at += 8
        result[i] = mix_one(found ^ np.uint64(end - begin))


@compiled
def fold(state: Words, codes: Ints) -> None:
    """Hash one more column into each row's state."""
    for i in range(len(state)):
        state[i] = mix_one(state[i] ^ np.uint64(codes[i]))


@compiled
def cells_at(spot: Words, width: Ints, first: Ints) -> Small:
    """The cell that holds each spot (`sphere.spots`), in a table of rows with *width* cells numbered from *first*."""
    rows = np.uint64(len(width))
    cell = np.empty(len(spot), np.int32)
    for i in range(len(spot)):
        row = np.int64(((spot[i] >> _HALF) * rows) >> _HALF)
        column = np.int64(((spot[i] & _LOW) * np.uint64(width[row])) >> _HALF)
        cell[i] = first[row] + column
    return cell


@compiled
def tally(block: Small, word: Words) -> tuple[Small, Small, Small]:
    """The kinds of rows – each (block, word) –: the first row of each, how many rows it has, and each row's kind."""
    slots = 1024
    mask = np.uint64(slots - 1)
    table = np.full(slots, -1, np.int32)
    first = np.empty(len(block), np.int32)
    count = np.empty(len(block), np.int32)
    kind = np.empty(len(block), np.int32)
    kinds = 0
    own = -1
    for i in range(len(block)):
        if own < 0 or word[first[own]] != word[i] or block[first[own]] != block[i]:
            slot = mix_one(word[i] ^ np.uint64(block[i])) & mask
            own = table[np.int64(slot)]
            while own >= 0 and (word[first[own]] != word[i] or block[first[own]] != block[i]):
                slot = (slot + np.uint64(1)) & mask
                own = table[np.int64(slot)]
            if own < 0:
                own = kinds
                table[np.int64(slot)] = own
                first[own] = i
                count[own] = 0
                kinds += 1
                if 2 * kinds > slots:  # a table no larger than it must be stays in the processor's cache
                    slots *= 4
                    mask = np.uint64(slots - 1)
                    table = np.full(slots, -1, np.int32)
                    for k in range(kinds):
                        slot = mix_one(word[first[k]] ^ np.uint64(block[first[k]])) & mask
                        while table[np.int64(slot)] >= 0:
                            slot = (slot + np.uint64(1)) & mask
                        table[np.int64(slot)] = k
        count[own] += 1
        kind[i] = own
    return first[:kinds].copy(), count[:kinds].copy(), kind


@compiled
def near_edge(spot: Words, width: Ints, high: np.uint64, wide: Words) -> Small:
    """Rows within a step – *high* of latitude, *wide* by row of cells of longitude – of their cell's edge."""
    rows = np.uint64(len(width))
    near = np.empty(len(spot), np.int32)
    number = 0
    limit = high * rows
    for i in range(len(spot)):
        lat, lon = (spot[i] >> _HALF) * rows, spot[i] & _LOW
        row = np.int64(lat >> _HALF)
        above = lat & _LOW
        along = lon * np.uint64(width[row])
        beyond = along & _LOW
        step = wide[row] * np.uint64(width[row])
        if above < limit or above + limit > _LOW or beyond < step or beyond + step > _LOW:
            near[number] = i
            number += 1
    return near[:number].copy()


@compiled
def blocks_around(spot: Words, width: Ints, first: Ints, high: np.uint64, wide: Words) -> Ints:
    """(n, 9) The cell of each spot, and those a step away in eight directions."""
    rows = np.uint64(len(width))
    found = np.empty((len(spot), 9), np.int64)
    for i in range(len(spot)):
        lat, lon = spot[i] >> _HALF, spot[i] & _LOW
        step = wide[np.int64((lat * rows) >> _HALF)]
        at = 1
        for north in range(3):
            there = lat
            if north == 0:
                there = lat - min(lat, high)
            elif north == 2:
                there = min(lat + high, _LOW)
            row = np.int64((there * rows) >> _HALF)
            for east in range(3):
                over = lon
                if east == 0:
                    over = (lon - step) & _LOW
                elif east == 2:
                    over = (lon + step) & _LOW
                cell = first[row] + np.int64((over * np.uint64(width[row])) >> _HALF)
                if north == 1 and east == 1:
                    found[i, 0] = cell
                else:
                    found[i, at] = cell
                    at += 1
    return found


@compiled
def pick(
    spot: Words,
    leaf: Small,
    least: Ints,
    most: Ints,
    also: Mask,
    width: Ints,
    first: Ints,
    codes: npt.NDArray[np.uint16],
    shifts: npt.NDArray[np.uint16],
    chip_key: Words,
    chip_state: np.uint64,
    place_key: npt.NDArray[np.uint32],
    season: npt.NDArray[np.uint8],
    season_hash: Words,
    season_share: Words,
    season_state: np.uint64,
    minus_log: Words,
) -> tuple[Small, Small, Words, Words]:
    """Candidates (least ≤ priority < most of their leaf, or *also*), their cells, priorities and hashes.

    Most rows are ruled out by their spatial code alone, the upper 14 bits of the priority.
    """
    rows = np.uint64(len(width))
    at, cells = np.empty(len(spot), np.int32), np.empty(len(spot), np.int32)
    priority, chips = np.empty(len(spot), np.uint64), np.empty(len(spot), np.uint64)
    number = 0
    for i in range(len(spot)):
        if leaf[i] < 0:
            continue
        low, high = least[leaf[i]], most[leaf[i]]
        if low >= high and not also[i]:
            continue
        row = np.int64(((spot[i] >> _HALF) * rows) >> _HALF)
        column = np.int64(((spot[i] & _LOW) * np.uint64(width[row])) >> _HALF)
        code = np.int64(codes[row & 127, column & 127] ^ shifts[row >> 7, column >> 7])
        upper = code << _CODE_BITS
        if not also[i] and (upper >= high or upper + (1 << _CODE_BITS) <= low):
            continue
        chip = mix_one(mix_one(chip_state ^ chip_key[i]) ^ _8)
        hashed = mix_one(season_state ^ np.uint64(place_key[i]))
        hashed = mix_one(mix_one(hashed ^ season_hash[season[i]]) ^ _16)
        late = minus_log[np.int64(hashed >> _48)] * season_share[season[i]]
        word = np.uint64(code) << _50 | late << _34 | chip >> _30
        upper = np.int64(word >> _HALF)
        if also[i] or low <= upper < high:
            at[number] = i
            cells[number] = first[row] + column
            priority[number] = word
            chips[number] = chip
            number += 1
    return at[:number].copy(), cells[:number].copy(), priority[:number].copy(), chips[:number].copy()


@compiled
def count_before(run: Words, group: Words, tier: Small) -> Small:
    """How many rows of the same run, group and tier come before each row; rows of a run lie together."""
    number = np.zeros(len(run), np.int32)
    table = np.empty(0, np.int64)
    begin = 0
    while begin < len(run):
        end = begin + 1
        while end < len(run) and run[end] == run[begin]:
            end += 1
        if end - begin <= _SHORT_RUN:
            for i in range(begin + 1, end):
                for j in range(begin, i):
                    number[i] += group[j] == group[i] and tier[j] == tier[i]
        else:
            slots = 64
            while slots < 2 * (end - begin):
                slots *= 2
            if len(table) < slots:
                table = np.empty(slots, np.int64)
            table[:slots] = -1
            mask = np.uint64(slots - 1)
            for i in range(begin, end):
                slot = np.int64(mix_one(group[i] ^ np.uint64(tier[i]) << _50) & mask)
                while table[slot] >= 0 and (group[table[slot]] != group[i] or tier[table[slot]] != tier[i]):
                    slot = np.int64(np.uint64(slot + 1) & mask)
                if table[slot] >= 0:
                    number[i] = number[table[slot]] + 1
                table[slot] = i  # the last one so far
        begin = end
    return number


@compiled
def into_buckets(keys: Words, bits: int) -> tuple[npt.NDArray[np.uint32], Ints]:
    """The next 32 bits of each key in the order of its first *bits*, and where each bucket of these begins."""
    begin = np.zeros((1 << bits) + 1, np.int64)
    shift = np.uint64(64 - bits)
    for key in keys:
        begin[np.int64(key >> shift) + 1] += 1
    begin = np.cumsum(begin)
    at = begin[:-1].copy()
    result = np.empty(len(keys), np.uint32)
    for key in keys:
        bucket = np.int64(key >> shift)
        result[at[bucket]] = np.uint32((key << np.uint64(bits)) >> _HALF)
        at[bucket] += 1
    return result, begin


@compiled
def repeated(values: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Those of some evenly spread 32-bit numbers that occur again, once for each time."""
    bits = 6
    while (1 << bits) < 2 * len(values):
        bits += 1
    mask = (1 << bits) - 1
    table = np.zeros(1 << bits, np.uint32)
    again = np.empty(len(values), np.uint32)
    number = zeros = 0
    for value in values:
        slot = np.int64(value) >> max(32 - bits, 0) & mask
        while table[slot] != 0 and table[slot] != value:
            slot = (slot + 1) & mask
        zeros += value == 0
        if table[slot] == value and (value != 0 or zeros > 1):
            again[number] = value
            number += 1
        table[slot] = value
    return again[:number].copy()
