"""Packet-switched bearers of TS 32.298 (PGW, SGW, SGSN, GGSN, ePDG, TWAG) as canonical records.

* A record covers `duration` from its `recordOpeningTime`; the bearer's own `stopTime` ends the last one.
* Volumes are the sums over `listOfTrafficVolumes`, or over `listOfServiceData` where a PGW charges by flow.
* The APN is `trunk_out`, the serving node `trunk_in`; `call_link` is the charging id, which the records of one bearer
  share over all its nodes.

Source: 3GPP TS 32.251 §6.1, TS 32.298 §5.2.3.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

from ingest.decoders.ber import values as ber_values
from ingest.decoders.ber.identifiers import in_digits
from ingest.decoders.ber.walk import CONTEXT, SEQUENCE, Fields, Level, Span, children, walk
from ingest.decoders.threegpp import text as threegpp_text
from ingest.decoders.threegpp.calls import bearer_place
from ingest.decoders.threegpp.columns import Columns, Key, first_of, later
from schemas.buffers import Column, Ints, Mask, pc
from schemas.rejects import RejectReason

_TRAFFIC: Final = Level({CONTEXT | 3: "up", CONTEXT | 4: "down"})
_SERVICE: Final = Level({CONTEXT | 12: "up", CONTEXT | 13: "down"})
_USED: Final = Level({CONTEXT | 5: "up", CONTEXT | 6: "down"})
_V4_PLAIN: Final = np.array([0x80, 4], np.uint8)
_V4_WRAPPED: Final = np.array([0xA0, 6, 0x80, 4], np.uint8)


def bearers(work: Columns) -> None:
    """Make the columns of bearers."""
    work.service("data")
    opening, stop = work.times("opening", "start_time"), work.times("stop", "end_time")
    duration = work.seconds("duration", "duration_ms")
    work.span_of_time(opening, first_of(stop, later(opening, duration), opening), ~stop.present)
    work.keep("duration_ms", duration.column(pa.int64(), 1000))
    work.party("calling_number", work.telephone("msisdn", "calling_number"))
    work.keep("imsi", work.digits("imsi", "imsi"))
    work.keep("imei", work.digits("imei", "imei"))
    addresses(work, work.fields["address"], work.fields["address_ext"])
    work.keep("cell_id", bearer_place(work, "cell"))
    work.keep("trunk_in", work.labels("serving", "trunk_in", threegpp_text.address))
    work.keep("trunk_out", work.labels("apn", "trunk_out", threegpp_text.label))
    work.keep("cause", work.labels("cause", "cause", threegpp_text.integer))
    work.words("disposition", np.zeros(work.rows, np.int64), ["closed"])
    volumes(work, [(work.fields["volumes"], _TRAFFIC), (work.fields["service_volumes"], _SERVICE)])
    work.keep("switch", work.labels("node", "switch", threegpp_text.address))
    charging = work.integers("charging", "record_key")
    work.keep("call_link", in_digits(charging))
    sequence, local = work.sequence("record_sequence"), work.integers("local_sequence", "record_key")
    work.faults.add(~charging.present, RejectReason.MISSING_FIELD, "record_key")
    key = Key(work.rows, work.kind.letters)
    key.number(charging.values, charging.present)
    key.number(sequence.values, sequence.present)
    key.literal("/")
    key.number(local.values, local.present)
    key.time(opening._replace(present=~local.present))
    work.made["record_key"] = key.column()


def addresses(work: Columns, *spans: Span) -> None:
    """Keep the address of the user: IPv4 as it is, IPv6 as address and prefix."""
    source: Column = pa.nulls(work.rows, pa.string())
    prefix: Column = pa.nulls(work.rows, pa.string())
    packed: Column = pa.nulls(work.rows, pa.uint32())
    for span in spans:
        if not span.present.any():
            continue
        plain, where = _plain_v4(work, span)
        if where.any():
            packed = pc.coalesce(packed, pc.if_else(source.is_valid(), pa.scalar(None, pa.uint32()), plain))
        rest = Span(np.where(where, -1, span.starts), span.lengths)
        if not rest.present.any():
            continue
        for column, read in ((0, threegpp_text.address), (1, _prefix_or_empty)):
            told, bad = work.readers.label(read, work.data, rest)
            work.faults.add(bad, RejectReason.BAD_FIELD, "source_ip")
            text = told.cast(pa.string())
            text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
            if column:
                prefix = pc.coalesce(prefix, text)
            else:
                source = pc.coalesce(source, text)
    if packed.null_count < work.rows:
        work.made["source_ip"] = packed
        source = pc.if_else(packed.is_valid(), pa.scalar(None, pa.string()), source)
    work.keep("source_ip_text" if packed.null_count < work.rows else "source_ip", source)
    work.keep("ipv6_prefix", prefix)


def _prefix_or_empty(content: bytes) -> str:
    return threegpp_text.prefix(content) or ""


def _plain_v4(work: Columns, span: Span) -> tuple[Column, Mask]:
    """Return binary IPv4 addresses packed, in one choice or two, and which rows have one."""
    octets = ber_values.lane(work.data, np.maximum(span.starts, 0), 8)
    wrapped = span.present & (span.lengths == 8) & (octets[:, :4] == _V4_WRAPPED).all(axis=1)
    plain = span.present & (span.lengths == 6) & (octets[:, :2] == _V4_PLAIN).all(axis=1)
    where = wrapped | plain
    if not where.any():
        return pa.nulls(work.rows, pa.uint32()), where
    quads = np.where(wrapped[:, None], octets[:, 4:8], octets[:, 2:6])
    addresses = np.ascontiguousarray(quads).view(">u4").ravel().astype(np.uint32)
    return pa.array(addresses, mask=None if where.all() else ~where), where


def volumes(work: Columns, lists: list[tuple[Span, Level]]) -> None:
    """Keep the sums of the volumes of lists of containers; of several lists the first that a record has counts."""
    up, down = np.zeros(work.rows, np.int64), np.zeros(work.rows, np.int64)
    has_up, has_down = np.zeros(work.rows, np.bool_), np.zeros(work.rows, np.bool_)
    for span, level in lists:
        wanted = Span(np.where(has_up | has_down, -1, span.starts), span.lengths)
        if not wanted.present.any():
            continue
        rows, containers = _containers(work, wanted, work.fields)
        _add(work, rows, containers, level, (up, has_up), (down, has_down))
    work.keep("volume_up_bytes", pa.array(up, mask=~has_up))
    work.keep("volume_down_bytes", pa.array(down, mask=~has_down))


def usage_volumes(work: Columns, span: Span) -> None:
    """Keep the sums of a charging record's used units: lists of containers within a list of rating groups.

    Source: TS 32.298 §5.2.5.2 (MultipleUnitUsage, UsedUnitContainer).
    """
    rows, groups = _containers(work, span, work.fields)
    inner = walk(work.data, groups.starts, groups.starts + groups.lengths, Level({CONTEXT | 1: "used"}))
    held = Fields(len(rows))
    within, containers = _containers(work, inner["used"], held)
    for flags, found in ((work.fields.bad, inner.bad | held.bad), (work.fields.indefinite, inner.indefinite)):
        flags[rows[found]] = True
    work.fields.indefinite[rows[held.indefinite]] = True
    up, down = np.zeros(work.rows, np.int64), np.zeros(work.rows, np.int64)
    has_up, has_down = np.zeros(work.rows, np.bool_), np.zeros(work.rows, np.bool_)
    _add(work, rows[within], containers, _USED, (up, has_up), (down, has_down))
    work.keep("volume_up_bytes", pa.array(up, mask=~has_up))
    work.keep("volume_down_bytes", pa.array(down, mask=~has_down))


def _containers(work: Columns, span: Span, fields: Fields) -> tuple[Ints, Span]:
    """Return the SEQUENCEs of lists, and which record each belongs to."""
    found = children(work.data, span, fields)
    sequences = np.flatnonzero(found.tags == SEQUENCE)
    return found.parents[sequences], found.span.take(sequences)


def _add(
    work: Columns, rows: Ints, containers: Span, level: Level, up: tuple[Ints, Mask], down: tuple[Ints, Mask]
) -> None:
    inner = walk(work.data, containers.starts, containers.starts + containers.lengths, level)
    work.fields.bad[rows[inner.bad]] = True
    work.fields.indefinite[rows[inner.indefinite]] = True
    wrong = np.zeros(work.rows, np.bool_)
    for name, (total, has) in (("up", up), ("down", down)):
        figures = ber_values.integers(work.data, inner[name])
        wrong[rows[figures.bad | (figures.values > VOLUME_MAX)]] = True
        np.add.at(total, rows, np.minimum(figures.values, VOLUME_MAX))
        has[rows[figures.present]] = True
    work.faults.add(wrong, RejectReason.BAD_FIELD, "volume_up_bytes")


VOLUME_MAX: Final = 2**53
"""A container of more octets is a counter that overflowed; 400 containers of it still fit 64 bits."""
