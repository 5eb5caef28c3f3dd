"""The sampler's inner loops, over rows: hashing, looking cells up, counting kinds, and picking candidates.

Whole numbers throughout, so that every machine finds the same. What each computes is said where it is used.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from curate.compiled import compiled
from curate.sampling.arrays import Ints, Mask, Small, Tiny, Words

_GOLDEN, _FIRST, _SECOND = (
    np.uint64(c) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
_0, _8, _16, _27, _30, _31, _34, _48, _50 = (np.uint64(c) for c in (0, 8, 16, 27, 30, 31, 34, 48, 50))
_HALF, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)
_SHORT_RUN = 24  # rows that are compared with each other one by one
_SEASON = np.uint64(3)  # the bits of a word that say the season
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
def some_places(spot: Words) -> Small:
    """The rows at one in sixteen places."""
    at = np.empty(len(spot), np.int32)
    number = 0
    for i in range(len(spot)):
        if mix_one(spot[i]) & np.uint64(15) == _0:
            at[number] = i
            number += 1
    return at[:number].copy()


@compiled
def _slot(word: np.uint64, held: Words) -> np.int64:
    """Where *word* is held in a table, or would be: the first free slot from the one that it asks for."""
    last = len(held) - 1
    slot = np.int64(((word ^ word >> _HALF) * _GOLDEN) >> _HALF) & last
    while held[slot] != word and held[slot] != _0:
        slot = (slot + 1) & last
    return slot


@compiled
def table_of(words: Words) -> tuple[Words, Small]:
    """A table of different *words*, none 0: at least half of its slots are free; and the position of each word."""
    slots = 1024
    while slots < 2 * len(words):
        slots *= 2
    held, position = np.zeros(slots, np.uint64), np.full(slots, -1, np.int32)
    for i in range(len(words)):
        slot = _slot(words[i], held)
        held[slot], position[slot] = words[i], i
    return held, position


@compiled
def _tally_from(
    begin: int, kinds: int, word: Words, held: Words, position: Small, first: Small, count: Small, kind: Small
) -> tuple[int, int]:
    """Go on with `tally` from a row until the table is full; the row that found no place, and the kinds so far."""
    for i in range(begin, len(word)):
        slot = _slot(word[i], held)
        if held[slot] == _0:
            if kinds == len(first):
                return i, kinds
            held[slot], position[slot] = word[i], kinds
            first[kinds], count[kinds] = i, 0
            kinds += 1
        count[position[slot]] += 1
        kind[i] = position[slot]
    return len(word), kinds


@compiled
def tally(word: Words) -> tuple[Small, Small, Small]:
    """The kinds of rows, one a word, none 0: the first row of each, how many rows it has, and each row's kind."""
    kind = np.empty(len(word), np.int32)
    first, count = np.empty(1024, np.int32), np.empty(1024, np.int32)
    at = kinds = 0
    while at < len(word):  # a table no larger than it must be stays in the processor's cache
        room = 2 * len(first)
        first, count = np.append(first, first), np.append(count, count)
        held, position = np.zeros(2 * room, np.uint64), np.empty(2 * room, np.int32)
        for own in range(kinds):
            slot = _slot(word[first[own]], held)
            held[slot], position[slot] = word[first[own]], own
        at, kinds = _tally_from(at, kinds, word, held, position, first, count, kind)
    return first[:kinds].copy(), count[:kinds].copy(), kind


@compiled
def pairs(
    spot: Words, kind: Small, climate: Ints, word: Words, width: Ints, first: Ints
) -> tuple[Words, Ints]:
    """Block and climate (by kind) of each row as one number, none 0; and the rows of each season (by *word*)."""
    rows = np.uint64(len(width))
    both = np.empty(len(spot), np.uint64)
    by_season = np.zeros(4, np.int64)
    for i in range(len(spot)):
        row = np.int64(((spot[i] >> _HALF) * rows) >> _HALF)
        block = first[row] + np.int64(((spot[i] & _LOW) * np.uint64(width[row])) >> _HALF)
        both[i] = np.uint64(block) << _HALF | np.uint64(climate[kind[i]] + 1)
        by_season[np.int64(word[i] & _SEASON)] += 1
    return both, by_season


@compiled
def _is_near(spot: np.uint64, width: Ints, high: np.uint64, wide: Words) -> np.bool_:
    """Whether another cell may lie a step away: *high* of latitude, *wide* by row of cells of longitude."""
    rows = np.uint64(len(width))
    lat = (spot >> _HALF) * rows
    row = np.int64(lat >> _HALF)
    columns = np.uint64(width[row])
    along, step = ((spot & _LOW) * columns) & _LOW, wide[row] * columns
    up, limit = lat & _LOW, high * rows
    return up < limit or up + limit > _LOW or along < step or along + step > _LOW


@compiled
def _around(spot: np.uint64, width: Ints, first: Ints, high: np.uint64, wide: Words, found: Small) -> None:
    """The cell of a spot, and those a step away in eight directions, into *found*."""
    rows = np.uint64(len(width))
    north, east = spot >> _HALF, spot & _LOW
    row = np.int64((north * rows) >> _HALF)
    columns, step = np.uint64(width[row]), wide[row]
    west, past = (east - step) & _LOW, (east + step) & _LOW
    found[0] = first[row] + np.int64((east * columns) >> _HALF)
    found[4] = first[row] + np.int64((west * columns) >> _HALF)
    found[5] = first[row] + np.int64((past * columns) >> _HALF)
    for side in range(2):
        at = 1 + 5 * side
        there = north - min(north, high) if side == 0 else min(north + high, _LOW)
        row = np.int64((there * rows) >> _HALF)
        columns = np.uint64(width[row])
        found[at] = first[row] + np.int64((west * columns) >> _HALF)
        found[at + 1] = first[row] + np.int64((east * columns) >> _HALF)
        found[at + 2] = first[row] + np.int64((past * columns) >> _HALF)


@compiled
def near_edge(
    spot: Words, width: Ints, first: Ints, high: np.uint64, wide: Words, everywhere: bool
) -> tuple[Small, Words]:
    """Rows within a step of their cell's edge (*everywhere*: all), and a hash of the cells around each."""
    near, word = np.empty(len(spot), np.int32), np.empty(len(spot), np.uint64)
    found = np.empty(9, np.int32)
    number = 0
    for i in range(len(spot)):
        if everywhere or _is_near(spot[i], width, high, wide):
            _around(spot[i], width, first, high, wide, found)
            hashed = _0
            for cell in found:
                hashed = (hashed ^ np.uint64(cell)) * _SECOND  # an odd factor: few combinations, well apart
                hashed ^= hashed >> _HALF
            near[number] = i
            word[number] = hashed
            number += 1
    return near[:number].copy(), word[:number].copy()


@compiled
def cells_around(spot: Words, width: Ints, first: Ints, high: np.uint64, wide: Words) -> Small:
    """(n, 9) The cell of each spot, and those a step away in eight directions."""
    found = np.empty((len(spot), 9), np.int32)
    for i in range(len(spot)):
        _around(spot[i], width, first, high, wide, found[i])
    return found


@compiled
def split_up(
    spot: Words,
    word: Words,
    held: Words,
    position: Small,
    split: Tiny,
    beside: Mask,
    width: Ints,
    first: Ints,
    high: np.uint64,
    wide: Words,
    everywhere: bool,
    number: Small,
) -> tuple[Small, Small]:
    """Count the rows of each kind in each split but the first, and find rows with another split a step away.

    Args:
        word, held, position: of each row, and the `table_of` those of the group's kinds.
        split, beside: of each cell, and whether one around it is of another split.
        number: (splits, kinds) counts that are added to.

    Returns:
        The rows found, and their kinds.
    """
    rows = np.uint64(len(width))
    near, kinds = np.empty(len(spot), np.int32), np.empty(len(spot), np.int32)
    found = np.empty(9, np.int32)
    many = 0
    for i in range(len(spot)):
        row = np.int64(((spot[i] >> _HALF) * rows) >> _HALF)
        own = first[row] + np.int64(((spot[i] & _LOW) * np.uint64(width[row])) >> _HALF)
        if split[own] <= 0 and not beside[own] and not everywhere:
            continue
        kind = position[_slot(word[i] | _SEASON, held)]
        if kind < 0:
            continue
        if split[own] > 0:
            number[split[own], kind] += 1
        other = everywhere
        if not everywhere and beside[own] and _is_near(spot[i], width, high, wide):
            _around(spot[i], width, first, high, wide, found)
            other = wide[row] == _LOW  # as wide as the parallel
            for cell in found:
                other |= split[cell] >= 0 and split[cell] != split[own]
        if other:
            near[many], kinds[many] = i, kind
            many += 1
    return near[:many].copy(), kinds[:many].copy()


@compiled
def pick(
    spot: Words,
    word: Words,
    held: Words,
    position: Small,
    leaf: Small,
    split: Tiny,
    blocks_wide: Ints,
    blocks_first: Ints,
    out: Small,
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
    season_hash: Words,
    season_share: Words,
    season_state: np.uint64,
    minus_log: Words,
) -> tuple[Small, Small, Small, Words, Words]:
    """Candidates (least ≤ priority < most of their leaf, or *also*), their leaves, cells, priorities and hashes.

    Most rows are ruled out by their spatial code alone, the upper 14 bits of the priority.

    Args:
        word, held, position: of each row, and the `table_of` those of the group's kinds.
        leaf: of each kind in each split.
        out: rows that cannot be drawn, ascending.
        also: may be empty.
    """
    rows, blocks = np.uint64(len(width)), np.uint64(len(blocks_wide))
    chosen, leaves = np.empty(len(spot), np.int32), np.empty(len(spot), np.int32)
    cells = np.empty(len(spot), np.int32)
    priority, chips = np.empty(len(spot), np.uint64), np.empty(len(spot), np.uint64)
    number = 0
    for i in range(len(spot)):
        kind = position[_slot(word[i] | _SEASON, held)]
        if kind < 0:
            continue
        north, east = spot[i] >> _HALF, spot[i] & _LOW
        row = np.int64((north * blocks) >> _HALF)
        block = blocks_first[row] + np.int64((east * np.uint64(blocks_wide[row])) >> _HALF)
        own = leaf[split[block], kind]
        if own < 0:
            continue
        low, high = least[own], most[own]
        asked = len(also) > 0 and also[i]
        if low >= high and not asked:
            continue
        row = np.int64((north * rows) >> _HALF)
        column = np.int64((east * np.uint64(width[row])) >> _HALF)
        code = np.int64(codes[row & 127, column & 127] ^ shifts[row >> 7, column >> 7])
        upper = code << _CODE_BITS
        if not asked and (upper >= high or upper + (1 << _CODE_BITS) <= low):
            continue
        chip = mix_one(mix_one(chip_state ^ chip_key[i]) ^ _8)
        hashed = mix_one(season_state ^ np.uint64(place_key[i]))
        season = np.int64(word[i] & _SEASON)
        hashed = mix_one(mix_one(hashed ^ season_hash[season]) ^ _16)
        late = minus_log[np.int64(hashed >> _48)] * season_share[season]
        first_bits = np.uint64(code) << _50 | late << _34 | chip >> _30
        upper = np.int64(first_bits >> _HALF)
        if asked or low <= upper < high:
            place = np.searchsorted(out, i)
            if place < len(out) and out[place] == i:
                continue
            chosen[number], leaves[number], cells[number] = i, own, first[row] + column
            priority[number], chips[number] = first_bits, chip
            number += 1
    return (
        chosen[:number].copy(),
        leaves[:number].copy(),
        cells[:number].copy(),
        priority[:number].copy(),
        chips[:number].copy(),
    )


@compiled
def leaves_of(
    spot: Words, word: Words, held: Words, position: Small, leaf: Small, split: Tiny, wide: Ints, first: Ints
) -> Small:
    """The leaf of each row, −1 where it has none; arguments as `pick`."""
    rows = np.uint64(len(wide))
    found = np.full(len(spot), -1, np.int32)
    for i in range(len(spot)):
        kind = position[_slot(word[i] | _SEASON, held)]
        if kind >= 0:
            row = np.int64(((spot[i] >> _HALF) * rows) >> _HALF)
            block = first[row] + np.int64(((spot[i] & _LOW) * np.uint64(wide[row])) >> _HALF)
            found[i] = leaf[split[block], kind]
    return found


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
def by_leaf(leaf: Small, first: Words, leaves: int) -> tuple[Ints, Small, Words]:
    """Where the rows of each leaf begin among rows put together by leaf; these rows, and their priorities."""
    begin = np.zeros(leaves + 1, np.int64)
    for one in leaf:
        begin[one + 1] += 1
    begin = np.cumsum(begin)
    at = begin[:-1].copy()
    rows, words = np.empty(len(leaf), np.int32), np.empty(len(leaf), np.uint64)
    for i in range(len(leaf)):
        to = at[leaf[i]]
        rows[to], words[to] = i, first[i]
        at[leaf[i]] += 1
    return begin, rows, words


@compiled
def ascending(begin: Ints, rows: Small, words: Words, tie: Words) -> None:
    """Put the rows of each leaf in the order of their priorities, equal ones in that of *tie*, in place."""
    for leaf in range(len(begin) - 1):
        a, b = begin[leaf], begin[leaf + 1]
        if b - a > _SHORT_RUN:
            turn = np.argsort(words[a:b], kind="mergesort")
            rows[a:b], words[a:b] = rows[a:b][turn], words[a:b][turn]
        for i in range(a + 1, b):
            row, word = rows[i], words[i]
            j = i - 1
            while j >= a and (words[j] > word or (words[j] == word and tie[rows[j]] > tie[row])):
                rows[j + 1], words[j + 1] = rows[j], words[j]
                j -= 1
            rows[j + 1], words[j + 1] = row, word


@compiled
def by_tier(begin: Ints, rows: Small, dates: Small, cells: Small, foremost: Mask) -> None:
    """Move the rows of each leaf that are not of tiers 0 and 0 behind those that are, in the order of tiers."""
    for leaf in range(len(begin) - 1):
        a, b = begin[leaf], begin[leaf + 1]
        late = np.empty(b - a, np.int32)
        tiers = np.empty(b - a, np.uint64)
        number, to = 0, a
        for i in range(a, b):
            if dates[i] or cells[i]:
                late[number] = rows[i]
                tiers[number] = np.uint64(dates[i]) << _HALF | np.uint64(cells[i])
                number += 1
            else:
                rows[to] = rows[i]
                to += 1
        foremost[a:to], foremost[to:b] = True, False
        if number:
            rows[to:b] = late[np.argsort(tiers[:number], kind="mergesort")]


@compiled
def page(data: npt.NDArray[np.uint8], at: int) -> tuple[int, int]:
    """Where the bytes of the page whose header is at *at* begin and end; (0, 0) where there is none.

    Of a header – a Thrift structure in compact form, fields as (step of the number << 4 | type) – field 3 matters: how
    many bytes follow. The rest is passed over.
    """
    depth = field = 0
    size = np.int64(0)
    while at < len(data) and (data[at] != 0 or depth > 0):
        kind, step = data[at] & 15, data[at] >> 4
        at += 1
        if kind == 0 and step == 0:  # end of a structure within
            depth -= 1
            continue
        field += step if depth == 0 else 0
        if kind == 12:
            depth += 1
        elif 4 <= kind <= 6 or kind == 8:
            value = shift = np.int64(0)
            while at < len(data) and data[at] > 127:
                value |= np.int64(data[at] & 127) << shift
                shift += 7
                at += 1
            if at < len(data):
                value |= np.int64(data[at]) << shift
            at += 1 + (int(value) if kind == 8 else 0)
            if depth == 0 and field == 3:
                size = value >> 1  # zigzag; never negative
        elif kind > 2 or step == 0:
            return 0, 0
    return (at + 1, int(at + 1 + size)) if 0 < size < len(data) - at else (0, 0)


@compiled
def into_buckets(keys: Words, bits: int, turn: int, turns: int) -> tuple[npt.NDArray[np.uint32], Ints]:
    """The next 32 bits of each key in the order of its first *bits*, and where each bucket of these begins.

    Only of the keys whose *turn* of so many, a power of two, it is by their last bits.
    """
    begin = np.zeros((1 << bits) + 1, np.int64)
    shift, last = np.uint64(64 - bits), np.uint64(turns - 1)
    for key in keys:
        begin[np.int64(key >> shift) + 1] += np.int64(key & last) == turn
    begin = np.cumsum(begin)
    at = begin[:-1].copy()
    result = np.empty(begin[-1], np.uint32)
    for key in keys:
        if np.int64(key & last) == turn:
            bucket = np.int64(key >> shift)
            result[at[bucket]] = np.uint32((key << np.uint64(bits)) >> _HALF)
            at[bucket] += 1
    return result, begin


@compiled
def holding(key: Words, words: Words, bits: int, seen: Mask, first: int) -> Ints:
    """Rows whose key begins with one of *words*, ascending, of so many *bits*; *seen* are the *first* bits of these."""
    at = np.empty(len(key), np.int64)
    number = 0
    short, shift = np.uint64(64 - first), np.uint64(64 - bits)
    for i in range(len(key)):
        if seen[np.int64(key[i] >> short)]:  # most rows are ruled out without a search
            word = key[i] >> shift
            place = np.searchsorted(words, word)
            if place < len(words) and words[place] == word:
                at[number] = i
                number += 1
    return at[:number].copy()


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
