"""Small deliveries on their way into the spool: many bodies decoded and normalised in one stretch.

Whatever is refused as a whole by itself (malformed, without a record) is refused here too, and nothing of it is kept.
What cannot share a stretch (more than one stretch, an empty body, a file that numbers itself) is handed back, to be
ingested by itself (`ingest.pipeline`).
"""

from __future__ import annotations

import bisect
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, cast, runtime_checkable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingest.decoders import Decoded, Decoder, decoder
from ingest.normalise import normalise
from ingest.source_config import SourceConfig
from schemas.errors import ConfigurationError, InputError, LagrumError
from schemas.rejects import Reject
from store import PushGroup, SourceRef, Store

Ints = npt.NDArray[np.int64]


Refusal = LagrumError | None
"""Why a delivery cannot be spooled: an error that refuses it as a whole, or None when it is ingested by itself."""


class _AloneError(Exception):
    """The delivery cannot share a stretch."""


@runtime_checkable
class GroupDecoder(Protocol):
    """A decoder that reads many bodies in one stretch."""

    def decode_bodies(self, bodies: Sequence[bytes], source: SourceConfig) -> tuple[Decoded, Sequence[int]] | None:
        """Return the records of all bodies, positions going on from one to the next, and each body's last position.

        None when they have to be read one by one.
        """
        ...


@dataclass(frozen=True, slots=True)
class Pushes:
    """Decoded pushes: those that can be spooled, and why the others cannot."""

    group: PushGroup | None
    places: Sequence[int]
    """The place among the bodies of each push of the group."""
    refused: dict[int, Refusal]
    """By place."""


def decode_pushes(store: Store, source: SourceConfig, format: str, bodies: Sequence[bytes]) -> Pushes:
    """Decode and normalise deliveries of one source and format together.

    Raises:
        ConfigurationError: no such format, or the source lacks what the format needs; all are refused.
    """
    chosen = decoder(format)
    if not chosen.zoned and source.zone is None:
        raise ConfigurationError(
            f"format {format} writes local times without an offset, and the source has no time zone",
            hint="set the source's zone, e.g. `lagrum sources add NAME --zone Europe/Stockholm`",
        )
    together = _in_one(chosen, source, bodies)
    stretch = together if together is not None else _one_by_one(chosen, source, bodies)
    if not stretch.places:
        return Pushes(None, (), stretch.refused)
    try:
        return _normalised(store, source, format, bodies, stretch)
    except LagrumError:
        raise
    except Exception:  # a sound body does not suffer for another
        return Pushes(None, (), stretch.refused | dict.fromkeys(stretch.places))


@dataclass(slots=True)
class _Stretch:
    decoded: Decoded
    places: list[int]
    ends: list[int]
    refused: dict[int, Refusal]


def _in_one(chosen: Decoder, source: SourceConfig, bodies: Sequence[bytes]) -> _Stretch | None:
    """Decode all bodies at once; None when the format cannot, or one of them is not plain."""
    if not isinstance(chosen, GroupDecoder):
        return None
    try:
        found = chosen.decode_bodies(bodies, source)
    except Exception:  # whatever it is, each body finds out by itself, and a sound one does not suffer for another
        return None
    if found is None:
        return None
    decoded, ends = found
    if any(end == before for before, end in zip([0, *ends], ends, strict=False)):
        return None
    return _Stretch(decoded, list(range(len(bodies))), list(ends), {})


def _one_by_one(chosen: Decoder, source: SourceConfig, bodies: Sequence[bytes]) -> _Stretch:
    """Decode each body by itself and put what they hold side by side."""
    members: list[Decoded] = []
    stretch = _Stretch(Decoded(pa.table({})), [], [], {})
    for place, body in enumerate(bodies):
        try:
            member = _alone(chosen, source, body)
        except LagrumError as refusal:
            stretch.refused[place] = refusal
            continue
        except Exception:  # it cannot share a stretch, or fails in its own way when it is by itself
            stretch.refused[place] = None
            continue
        members.append(member)
        stretch.places.append(place)
        stretch.ends.append((stretch.ends[-1] if stretch.ends else 0) + _last_position(member))
    if members:
        try:
            stretch.decoded = _side_by_side(members, stretch.ends)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            stretch.refused |= dict.fromkeys(stretch.places)
            stretch.places = []
    return stretch


def _alone(chosen: Decoder, source: SourceConfig, body: bytes) -> Decoded:
    """Return what one body holds.

    Raises:
        InputError: it is not of this format, or holds no record.
        _AloneError: it cannot share a stretch.
    """
    if not body:
        raise _AloneError
    found = list(chosen.decode(io.BytesIO(body), source))
    if any(item.series is not None or item.is_nothing for item in found):
        raise _AloneError  # its number is noted once it is in a batch, and nothing has no place in a stretch
    stretches = [item for item in found if item.table.num_rows or item.rejects]
    if not stretches:
        raise InputError(
            f"the delivery is not empty, but holds no record of format {chosen.name}",
            hint="check the format; `lagrum formats` lists them",
        )
    if len(stretches) > 1:
        raise _AloneError
    return stretches[0]


def _last_position(member: Decoded) -> int:
    last = max((reject.position for reject in member.rejects), default=0)
    return max(last, int(_positions(member.table).max()) if member.table.num_rows else 0)


def _side_by_side(members: Sequence[Decoded], ends: Sequence[int]) -> Decoded:
    """Return all members as one stretch; positions go on from one to the next."""
    starts = [0, *ends[:-1]]
    tables, rejects = [], []
    for member, start in zip(members, starts, strict=True):
        if member.table.num_rows:
            place = member.table.column_names.index("position")
            tables.append(member.table.set_column(place, "position", pa.array(_positions(member.table) + start)))
        rejects += [_moved(reject, start) for reject in member.rejects]

    def raw_of(positions: Sequence[int]) -> list[bytes | None]:
        found: list[bytes | None] = []
        for position in positions:
            number = bisect.bisect_left(ends, position)
            own = members[number].raw_of
            found += [None] if own is None else own([position - starts[number]])
        return found

    table = pa.concat_tables(tables, promote_options="default") if tables else members[0].table
    return Decoded(table, rejects, raw_of)


def _moved(reject: Reject, start: int) -> Reject:
    return replace(reject, position=reject.position + start)


def _normalised(store: Store, source: SourceConfig, format: str, bodies: Sequence[bytes], stretch: _Stretch) -> Pushes:
    now_us = store.clock.now_us()
    normalised = normalise(stretch.decoded, source, now_us)
    ends: Ints = np.array(stretch.ends, np.int64)
    delivered = _per_push(ends, normalised.table)
    table = store.spool.within_period(normalised.table)
    expired = delivered - _per_push(ends, table) if len(table) < len(normalised.table) else np.zeros_like(ends)
    refused = np.array([reject.position for reject in normalised.rejects], np.int64)
    records = delivered + np.bincount(np.searchsorted(ends, refused), minlength=len(ends))
    own = [bodies[place] for place in stretch.places]
    group = PushGroup(
        source=SourceRef(source.name, source.domain, source.transport),
        format=format,
        received_us=now_us,
        table=table,
        rejects=normalised.rejects,
        ends=ends,
        records=records,
        expired=expired,
        sizes=np.array([len(body) for body in own], np.int64),
        digests=b"".join(hashlib.sha256(body).digest() for body in own),
    )
    return Pushes(group, stretch.places, stretch.refused)


def _per_push(ends: Ints, table: pa.Table) -> Ints:
    positions = table.column("batch_position").to_numpy()
    return np.bincount(np.searchsorted(ends, positions), minlength=len(ends)).astype(np.int64)


def _positions(table: pa.Table) -> Ints:
    return cast(Ints, table.column("position").to_numpy())
