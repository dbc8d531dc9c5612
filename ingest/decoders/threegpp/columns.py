"""Fields of 3GPP records as columns of the canonical record: what all families share.

A field that has not its form refuses its record, except labels (cells, trunks, causes), which fall back to hexadecimal.

Numbers keep their type of number: a national one gets the source's country code, an international one is E.164 as it
is, all others go through the source's number rules like any dialled number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from ingest.decoders.ber import values as ber_values
from ingest.decoders.ber.identifiers import DESTINATION, TYPED, Identifiers, identifiers
from ingest.decoders.ber.values import Numbers, Rendered, Times
from ingest.decoders.ber.walk import Fields, Span
from ingest.decoders.slices import Faults
from ingest.decoders.threegpp import text as threegpp_text
from ingest.decoders.threegpp.tables import RecordType
from ingest.source_config import SourceConfig
from schemas.arrow import TIME_TYPE
from schemas.buffers import Bytes, Column, Ints, Mask, pc
from schemas.numbers import normalise_numbers, normalise_packed, rules
from schemas.rejects import RejectReason

INTERNATIONAL: Final = 1
NATIONAL: Final = 2
ALPHANUMERIC: Final = 5
E164_DIGITS_MAX: Final = 15
SECONDS_MAX: Final = 10**9
SEQUENCE_MAX: Final = 2**31 - 1


class Readers:
    """Labels of a delivery, each distinct value read once; make one per delivery."""

    def __init__(self, source: SourceConfig) -> None:
        self.source = source
        self.law = rules(source.country)
        self._rendered: dict[Callable[[bytes], str | None], Rendered] = {}

    def label(self, read: Callable[[bytes], str | None], data: Bytes, span: Span) -> tuple[Column, Mask]:
        """Return a field of few distinct values, read by a function of `threegpp_text`."""
        if read not in self._rendered:
            self._rendered[read] = Rendered(read)
        return self._rendered[read].column(data, span)


class Telephone(NamedTuple):
    """A party's number, and what was delivered where that is something else."""

    number: Column
    delivered: Column


class Columns:
    """The records of one type in one stretch, on their way to columns."""

    def __init__(self, data: Bytes, fields: Fields, kind: RecordType, readers: Readers) -> None:
        self.data = data
        self.fields = fields
        self.kind = kind
        self.readers = readers
        self.rows = fields.rows
        self.faults = Faults(self.rows)
        self.faults.add(fields.bad, RejectReason.MALFORMED)
        self.made: dict[str, Column] = {}

    def keep(self, name: str, column: Column) -> None:
        """Keep a column unless it says nothing."""
        if column.null_count < self.rows:
            self.made[name] = column

    def labels(self, name: str, field: str, read: Callable[[bytes], str | None]) -> Column:
        """Return a label, a dictionary column."""
        column, bad = self.readers.label(read, self.data, self.fields[name])
        self.faults.add(bad, RejectReason.BAD_FIELD, field)
        return column

    def digits(self, name: str, field: str) -> Column:
        """Return a TBCD string (IMSI, IMEI), packed if all are digits."""
        span = self.fields[name]
        if not span.present.any():
            return pa.nulls(self.rows, pa.string())
        found = identifiers(self.data, span)
        column, bad = ber_values.digits(self.data, span) if found is None else found[:2]
        self.faults.add(bad, RejectReason.BAD_FIELD, field)
        return column

    def texts(self, name: str, field: str) -> Column:
        """Return a text."""
        if not self.fields[name].present.any():
            return pa.nulls(self.rows, pa.string())
        column, bad = ber_values.texts(self.data, self.fields[name])
        self.faults.add(bad, RejectReason.BAD_FIELD, field)
        return column

    def hexadecimal(self, name: str, field: str) -> Column:
        """Return octets as hexadecimal digits."""
        if not self.fields[name].present.any():
            return pa.nulls(self.rows, pa.string())
        column, bad = ber_values.hexadecimal(self.data, self.fields[name])
        self.faults.add(bad, RejectReason.BAD_FIELD, field)
        return column

    def integers(self, name: str, field: str) -> Numbers:
        """Return integers."""
        numbers = ber_values.integers(self.data, self.fields[name])
        self.faults.add(numbers.bad, RejectReason.BAD_FIELD, field)
        return numbers

    def seconds(self, name: str, field: str) -> Numbers:
        """Return durations in seconds; one of decades is a counter that overflowed, and refuses its record."""
        numbers = self.integers(name, field)
        absurd = numbers.values > SECONDS_MAX
        self.faults.add(absurd, RejectReason.BAD_FIELD, field)
        return numbers._replace(values=np.where(absurd, 0, numbers.values))

    def sequence(self, name: str) -> Numbers:
        """Keep the sequence number of a partial record, and return it."""
        numbers = self.integers(name, "partial_sequence")
        large = numbers.values > SEQUENCE_MAX
        self.faults.add(large, RejectReason.BAD_FIELD, "partial_sequence")
        self.keep("partial_sequence", pa.array(np.where(large, 0, numbers.values), pa.int32(), mask=~numbers.present))
        return numbers

    def times(self, name: str, field: str) -> Times:
        """Return times; the second a record cannot tell refuses it."""
        found = ber_values.times(self.data, self.fields[name])
        self.faults.add(found.bad, RejectReason.BAD_TIME, field)
        return found

    def telephone(self, name: str, field: str, where: Mask | None = None) -> Telephone:
        """Return a number that has a type of number in front (AddressString, BCDDirectoryNumber, SMS address).

        `where` looks at some records only. Numbers are packed if all are digits that stay as they are.
        """
        span = self.fields[name]
        if where is not None:
            span = span._replace(starts=np.where(where, span.starts, -1))
        if not span.present.any():
            return Telephone(pa.nulls(self.rows, pa.string()), pa.nulls(self.rows, pa.string()))
        found = identifiers(self.data, span, DESTINATION if name == "destination" else TYPED)
        if found is not None and self._is_final(found):
            self.faults.add(found.bad, RejectReason.BAD_FIELD, field)
            return Telephone(found.column, pa.nulls(self.rows, pa.string()))
        return self._telephone(name, field, Span(np.where(span.lengths > 0, span.starts, -1), span.lengths))

    def _is_final(self, found: Identifiers) -> bool:
        """Tell whether numbers stay as they are: none is national, and no rule would change an international one."""
        law = self.readers.law
        if law.country is None:
            return True
        if found.national:
            return False
        leads_with_0 = law.trunk is not None and law.trunk[0] == "0"
        return leads_with_0 or not normalise_packed(found.column, None, law)[2].any()

    def _telephone(self, name: str, field: str, span: Span) -> Telephone:
        """Do as `telephone`, by way of texts."""
        first = self.data[np.maximum(span.starts, 0)].astype(np.int64)
        second = self.data[np.maximum(span.starts, 0) + 1].astype(np.int64)
        extended = (first < 0x80) & (second >= 0x80) & (span.lengths >= 2)  # octet 3a, or a length in front
        kinds = np.where(extended & (name == "destination"), second, first) >> 4 & 7
        words = span.present & (kinds == ALPHANUMERIC)
        numeric = Span(np.where(words, -1, span.starts), span.lengths)
        chars, bad = ber_values.digit_chars(self.data, numeric, 1 + extended.astype(np.int64))
        self.faults.add(bad, RejectReason.BAD_FIELD, field)
        found = self._normal(chars, kinds)
        if words.any():
            return found._replace(number=self._words(found.number, span, np.flatnonzero(words), 1 + extended))
        return found

    def _words(self, text: Column, span: Span, rows: Ints, skip: Ints) -> Column:
        """Return the numbers with the alphanumeric ones read."""
        values: Any = text.to_pylist()
        for row in rows.tolist():
            start = int(span.starts[row] + skip[row])
            content = self.data[start : int(span.starts[row] + min(span.lengths[row], 32))].tobytes()
            values[row] = threegpp_text.seven_bit(content) or None
        return pa.array(values, pa.string())

    def _normal(self, chars: Bytes, kinds: Ints) -> Telephone:
        """Write national numbers with the country's code, and international ones so that no rule changes them."""
        law = self.readers.law
        absent = chars[:, 0] == 0
        nothing = pa.nulls(self.rows, pa.string())
        if law.country is None:
            return Telephone(ber_values.strings(chars, absent), nothing)
        code = np.frombuffer(law.code.encode(), np.uint8)
        room = E164_DIGITS_MAX - len(code)
        national = (kinds == NATIONAL) & ~absent
        if chars.shape[1] > room:
            national &= chars[:, room] == 0
        delivered = nothing
        if national.any():
            delivered = ber_values.strings(chars, ~national)
            bare = chars[national]
            if law.trunk == "0":
                trunk = bare[:, 0] == ord("0")
                bare[trunk, :-1] = bare[trunk, 1:]
                bare[trunk, -1] = 0
            whole = np.zeros((self.rows, chars.shape[1] + len(code)), np.uint8)
            whole[:, : chars.shape[1]] = chars
            whole[national, : len(code)] = code
            whole[national, len(code) :] = bare
            chars = whole
        text = ber_values.strings(chars, absent)
        if law.trunk is None or law.trunk[0] != "0":
            changes = pc.fill_null(pc.not_equal(normalise_numbers(text, law), text), False)
            exact = pc.and_(changes, pa.array(national | (kinds == INTERNATIONAL)))
            if pc.any(exact).as_py():
                text = pc.if_else(exact, pc.binary_join_element_wise(pa.scalar("+"), text, ""), text)
        return Telephone(text, delivered)

    def party(self, field: str, telephone: Telephone) -> None:
        """Keep a party's number."""
        self.keep(field, telephone.number)
        self.keep(field + "_delivered", telephone.delivered)

    def span_of_time(self, start: Times, end: Times, inferred: Mask, answer: Times | None = None) -> None:
        """Keep start, answer and end; a record without a start is refused."""
        self.faults.add(~start.present, RejectReason.MISSING_FIELD, "start_time")
        self.made["start_time"] = time_column(start)
        self.made["end_time"] = time_column(end)
        self.made["utc_offset_s"] = pa.array(start.offsets_s, pa.int32(), mask=~start.present)
        if inferred.any():
            self.made["end_inferred"] = pa.array(inferred)
        if answer is not None:
            self.keep("answer_time", time_column(answer))

    def words(self, name: str, codes: Ints, words: Sequence[str]) -> None:
        """Keep a label of few words, by their index; -1 is none."""
        indices: Any = pa.array(codes.astype(np.int32), mask=codes < 0)
        self.keep(name, pa.DictionaryArray.from_arrays(indices, pa.array(words, pa.string())))

    def service(self, word: str) -> None:
        """Keep the service type; the source's own comes first."""
        self.words("service_type", np.zeros(self.rows, np.int64), [self.readers.source.service_type or word])

    def table(self, positions: Ints, leave_out: Mask) -> pa.Table:
        """Return the columns of the records that are not refused."""
        table = pa.table({"position": pa.array(positions), **self.made})
        gone = self.faults.mask | leave_out
        return table.filter(pa.array(~gone)) if gone.any() else table


def time_column(found: Times) -> Column:
    """Return times as a column."""
    return pa.array(found.values_us, pa.int64(), mask=~found.present | found.bad).view(TIME_TYPE)


def first_of(*choices: Times) -> Times:
    """Return, by record, the first of several times that it has."""
    values, offsets, present, bad = choices[0]
    for other in choices[1:]:
        if present.all():
            break
        values = np.where(present, values, other.values_us)
        offsets = np.where(present, offsets, other.offsets_s)
        bad = np.where(present, bad, other.bad)
        present = present | other.present
    return Times(values, offsets, present, bad)


def later(start: Times, seconds: Numbers) -> Times:
    """Return times so many seconds after others."""
    moved = start.values_us + seconds.values * 1_000_000
    return Times(moved, start.offsets_s, start.present & seconds.present, start.bad | seconds.bad)


_DOT: Final = ord(".")


class Key:
    """Builds record keys: pieces of ASCII characters, one behind the other, zeros left out."""

    def __init__(self, rows: int, letters: str) -> None:
        self._rows = rows
        self._parts: list[Any] = [np.tile(np.frombuffer(letters.encode(), np.uint8), (rows, 1))]

    def octets(self, data: Bytes, span: Span) -> None:
        """Add octets as hexadecimal digits; at most 16 of them tell a record from others."""
        lengths = np.where(span.present, np.minimum(span.lengths, 16), 0)
        longest = int(lengths.max(initial=0))
        if longest == 0:
            return
        octets = ber_values.lane(data, np.maximum(span.starts, 0), 8 if longest <= 8 else 16)
        digits = ber_values.HEX.take(octets).view(np.uint8).reshape(self._rows, -1)
        if lengths.min() < longest:
            digits &= ber_values.KEEP[octets.shape[1], 2].take(lengths, axis=0)
        self._parts.append(digits[:, : 2 * longest])

    def number(self, values: Ints, present: Mask) -> None:
        """Add a dot and a number: 4, 8 or 16 hexadecimal digits, as many as it needs."""
        if not present.any():
            return
        largest = int(values.max())
        octets = 2 if largest < 1 << 16 else 4 if largest < 1 << 32 else 8
        digits = ber_values.hexadecimal_of(values, octets)
        if octets > 2:
            digits[values < 1 << 16, : 2 * octets - 4] = 0
        if octets > 4:
            digits[values < 1 << 32, :8] = 0
        if present.all():
            self.literal(".")
        else:
            digits[~present] = 0
            self._parts.append(np.where(present, _DOT, 0).astype(np.uint8)[:, None])
        self._parts.append(digits)

    def literal(self, text: str) -> None:
        """Add the same characters to every key."""
        self._parts.append(np.tile(np.frombuffer(text.encode(), np.uint8), (self._rows, 1)))

    def time(self, found: Times) -> None:
        """Add a dot and a time in seconds."""
        self.number(found.values_us // 1_000_000, found.present)

    def column(self) -> Column:
        """Return the keys."""
        chars = np.concatenate(self._parts, axis=1)
        filled = chars != 0
        if (filled[:, 1:] > filled[:, :-1]).any():
            counts = filled.sum(axis=1)
            offsets = np.zeros(self._rows + 1, np.int32)
            np.cumsum(counts, out=offsets[1:])
            values: Any = chars[filled]
            return pa.StringArray.from_buffers(self._rows, pa.py_buffer(_any(offsets)), pa.py_buffer(values))
        return pa.array(np.ascontiguousarray(chars).view(f"S{chars.shape[1]}").ravel(), pa.binary()).view(pa.string())


def _any(value: Any) -> Any:
    return value
