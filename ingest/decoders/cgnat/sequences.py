"""Sequence numbers of flow messages: what the network lost, told from what it only overtook.

A number ahead of the expected one leaves a hole. A message that comes late fills it; a hole that is still there when
gaps are asked for the second time is a gap. A number behind the expected one is a late message, a repetition, or an
exporter that began anew: its message was made later than the newest one, or many such come one behind the other.

Source: RFC 7011 §3.1 (records of a domain), RFC 3954 §5.1 (packets).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, NamedTuple

STREAMS_MAX: Final = 4096
"""Exporters and domains whose numbers are followed; the one that was silent longest goes first."""
LATE_MAX: Final = 16
"""So many late messages, one behind the other, are an exporter that began anew with a clock that was set back."""
_HALF: Final = 1 << 31
_WRAP: Final = 1 << 32


class Stream(NamedTuple):
    """What has sequence numbers of its own."""

    exporter: str
    protocol: int
    domain: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Sequence numbers that did not come: records of IPFIX, packets of NetFlow v9."""

    exporter: str
    domain: int
    protocol: int
    missing: int


@dataclass(slots=True)
class _Followed:
    expected: int | None
    export_us: int
    late: int = 0


@dataclass(slots=True)
class _Hole:
    first: int
    missing: int
    seen: bool = False


class Sequences:
    """The sequence numbers of some exporters; `late` counts messages behind the expected number."""

    def __init__(self) -> None:
        self.late = 0
        self._followed: OrderedDict[Stream, _Followed] = OrderedDict()
        self._holes: dict[Stream, list[_Hole]] = {}

    def follow(self, stream: Stream, sequence: int, step: int | None, export_us: int) -> None:
        """Compare a message's number with the expected one.

        Args:
            stream: whose number it is.
            sequence: the number.
            step: by how much the next one is larger; None where that is not known.
            export_us: when the message was made, by the exporter's clock, in µs since 1970 UTC.
        """
        after = None if step is None else (sequence + step) % _WRAP
        known = self._followed.pop(stream, None)
        if known is None:
            if len(self._followed) >= STREAMS_MAX:
                self._holes.pop(self._followed.popitem(last=False)[0], None)
            known = _Followed(after, export_us)
        elif known.expected is None or sequence == known.expected:
            known = _Followed(after, export_us)
        elif (missing := (sequence - known.expected) % _WRAP) < _HALF:
            self._holes.setdefault(stream, []).append(_Hole(known.expected, missing))
            known = _Followed(after, export_us)
        else:
            self.late += 1
            known.late += 1
            if export_us > known.export_us or known.late > LATE_MAX:
                known = _Followed(after, export_us)
            else:
                self._fill(stream, sequence, step or 1)
        self._followed[stream] = known

    def take_gaps(self) -> list[Gap]:
        """Return the holes that were there the last time already, and are not any more."""
        found = []
        for stream, holes in list(self._holes.items()):
            found += [Gap(stream.exporter, stream.domain, stream.protocol, hole.missing) for hole in holes if hole.seen]
            self._holes[stream] = [hole for hole in holes if not hole.seen]
            for hole in self._holes[stream]:
                hole.seen = True
            if not self._holes[stream]:
                del self._holes[stream]
        return found

    def _fill(self, stream: Stream, sequence: int, step: int) -> None:
        """Take the numbers of a late message out of the hole that they lie in."""
        for hole in self._holes.get(stream, ()):
            before = (sequence - hole.first) % _WRAP
            if before < hole.missing:
                behind = hole.missing - before - step
                if behind > 0:
                    self._holes[stream].append(_Hole((sequence + step) % _WRAP, behind, hole.seen))
                hole.missing = before
                break
        else:
            return
        self._holes[stream] = [hole for hole in self._holes[stream] if hole.missing]
