"""Which open sessions may hold a target, without opening them: 64 bits a session, kept beside its sealed fields.

Each identifier of a session sets BITS of the first 62 bits, chosen by a CMAC of its value under the store's identity
key; so who has no key learns from them neither an identifier nor whether one is there. A session whose bits include a
target's may hold it and is opened; any other does not. Two bits say that a session holds what has no one spelling:

    62    a delegated prefix: an address is asked for beside those that contain it
    63    an IMEI that was written with separators

A target that is itself a prefix leaves nothing out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.addresses import pack_address_value, pack_mac_value
from schemas.buffers import Column
from schemas.fields import BY_NAME, Kind
from schemas.imei import imei_match_ranges
from schemas.packing import pack_identifier_value
from store.creation import IDENTITY_REF
from store.identities.prf import BulkCmac, Words
from store.keys import Keyring, derive
from store.model import TargetIdentifier
from store.reading.targets import FIELDS_OF_KIND

BITS: Final = 4
"""Of eight identifiers and a million sessions some thousands are opened in vain."""
_PLACES: Final = np.uint64(62)
_PREFIX: Final = np.uint64(1 << 62)
_WRITTEN: Final = np.uint64(1 << 63)
_IMEI_DIGITS: Final = 14
_KINDS: Final = {kind: place for place, kind in enumerate(FIELDS_OF_KIND, start=1)}

Sieves = npt.NDArray[np.uint64]


class SessionSieve:
    """Makes the bits of sessions and of targets; safe for threads."""

    def __init__(self, keyring: Keyring) -> None:
        self._cmac = BulkCmac(derive(keyring.key(IDENTITY_REF), "session-sieve"))

    def of_rows(self, rows: pa.Table) -> list[int]:
        """Return the bits of sessions, given as packed columns, as the catalog's signed integers."""
        found = np.zeros(rows.num_rows, np.uint64)
        for kind, names in FIELDS_OF_KIND.items():
            for name in names:
                for part in (name, name + "_text", name + "_v6"):
                    if part in rows.column_names and rows.column(part).null_count < rows.num_rows:
                        self._add(found, rows.column(part), kind, part)
        return _signed(found)

    def of_target(self, target: TargetIdentifier) -> list[int]:
        """Return bits, any of which a session that holds the target includes; none of them: every session may."""
        if target.kind == "ip":
            if "/" in target.value:
                return []
            v4, v6 = pack_address_value(target.value)
            block = _numbers([v4], target.kind) if v4 is not None else _octets([v6 or b""])
            return _signed(np.append(self._bits(block), _PREFIX))
        if target.kind == "imei":
            body = imei_match_ranges(target.value)[0][0]
            return _signed(np.append(self._bits(_numbers([body], target.kind)), _WRITTEN))
        if target.kind == "mac":
            return _signed(self._bits(_numbers([pack_mac_value(target.value)], target.kind)))
        packed, text = pack_identifier_value(target.value)
        if packed is not None:
            return _signed(self._bits(_numbers([packed], target.kind)))
        return _signed(self._spread(self._cmac.strings(pa.array([text], pa.string()))))

    def _add(self, found: Sieves, column: Column, kind: str, part: str) -> None:
        array: Any = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        places = np.flatnonzero(np.asarray(array.is_valid()))
        values = array.take(pa.array(places)) if array.null_count else array
        if part in BY_NAME and BY_NAME[part].kind is Kind.TEXT:
            found[places] |= _PREFIX
        elif part.endswith("_v6"):
            found[places] |= self._bits(_octets(values.to_pylist()))
        elif not part.endswith("_text"):
            found[places] |= self._bits(_numbers(np.asarray(values), kind))
        elif kind == "imei":
            found[places] |= _WRITTEN
        else:
            found[places] |= self._spread(self._cmac.strings(values.cast(pa.string())))

    def _bits(self, blocks: Words) -> Sieves:
        return self._spread(self._cmac.finish(np.zeros_like(blocks), blocks))

    def _spread(self, tags: Words) -> Sieves:
        """Return the bits that tags set, each by four words of 16 bits."""
        found = np.zeros(len(tags), np.uint64)
        for number in range(BITS):
            place = ((tags[:, 0] >> np.uint64(16 * number)) & np.uint64(0xFFFF)) % _PLACES
            found |= np.uint64(1) << place
        return found


def condition(sieve: SessionSieve, targets: Sequence[TargetIdentifier]) -> tuple[str, list[int]]:
    """Return what a row of `sessions` must be, as SQL with its values, to hold one of some targets; "1": anything."""
    bits = [sieve.of_target(target) for target in targets]
    if not bits or not all(bits):
        return "1", []
    wanted = sorted({word for some in bits for word in some})
    return " OR ".join(["sieve & ? = ?"] * len(wanted)), [word for word in wanted for _ in range(2)]


def _numbers(values: Any, kind: str) -> Words:
    """Return packed numbers as blocks; of an IMEI of 15 or 16 digits the first 14 count."""
    blocks = np.empty((len(values), 2), np.uint64)
    numbers = np.asarray(values).astype(np.int64)
    if kind == "imei":
        for more in (2, 1):
            longer = numbers >= 10 ** (_IMEI_DIGITS + more)
            numbers = np.where(longer, numbers // 10**more, numbers)
    blocks[:, 0], blocks[:, 1] = numbers.view(np.uint64), _KINDS[kind]
    return blocks


def _octets(values: Sequence[bytes]) -> Words:
    return np.frombuffer(b"".join(values), np.uint64).reshape(-1, 2)


def _signed(bits: Sieves) -> list[int]:
    found: list[int] = bits.view(np.int64).tolist()
    return found
