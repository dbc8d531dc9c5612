"""What may take the place of a field when a record is rectified. Pure.

Fields that tell which record it is, or in which partition it lies, cannot be replaced: such a record is superseded and
delivered again. `conflict` can: somebody has decided which of two versions is right. A location can be emptied only: a
correction lives as long as its record, and a location may end before (`store.siblings`).

Source: Regulation (EU) 2016/679 Art 16; the design's *Corrections*.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from schemas.addresses import pack_address_value, pack_mac_value
from schemas.arrow import packed_columns
from schemas.errors import InputError
from schemas.fields import BY_NAME, FIELDS, NUMBER_FIELDS, STORE_FIELDS, Field, Kind
from schemas.packing import pack_identifier_value
from store.siblings import LOCATION_FIELDS

TEXT_CHARS_MAX: Final = 128
PORT_MAX: Final = 65_535
INTEGER_MAX: Final = 2**62
SMALL_MAX: Final = 2**31 - 1

_PLACING: Final = frozenset({"service_type", "start_time", "end_time"})
"""They decide the partition, its class and which parts a search opens."""
RECTIFIABLE: Final = tuple(
    field.name
    for field in FIELDS
    if not field.identity
    and field.name not in _PLACING
    and (field.name == "conflict" or field.name not in STORE_FIELDS)
)


def check(fields: Mapping[str, Any]) -> None:
    """Return if these values can replace a record's.

    Raises:
        InputError: none, a field that cannot be replaced, or a value without its field's form.
    """
    if any(fields.get(name) is not None for name in LOCATION_FIELDS):
        raise InputError(
            "a location is emptied, not replaced: the correction would outlive it",
            hint="empty it with null, or supersede the record and deliver it again",
        )
    if not fields:
        raise InputError("a rectification names at least one field")
    for name in fields:
        if name not in RECTIFIABLE:
            raise InputError("a field of the rectification cannot be replaced", hint="supersede the record instead")
    packed(fields)


def packed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values by packed column; a field of two columns sets both.

    Raises:
        InputError: a value does not have its field's form; the message names the field and no value.
    """
    values: dict[str, Any] = {}
    for name, value in fields.items():
        field = BY_NAME[name]
        columns = [column.name for column in packed_columns(field)]
        if value is None and field.nullable:
            values.update(dict.fromkeys(columns))
            continue
        try:
            made = _FORMS[field.kind](field, value)
        except (TypeError, ValueError) as error:
            raise InputError(f"the value of {name} does not have its field's form") from error
        values.update(zip(columns, made, strict=True))
    return values


def _text(field: Field, value: Any) -> tuple[str]:
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_CHARS_MAX or not value.isprintable():
        raise ValueError
    if field.name == "ipv6_prefix":
        ipaddress.IPv6Network(value)
    return (value,)


def _identifier(field: Field, value: Any) -> tuple[int | None, str | None]:
    (text,) = _text(field, value)
    if field.name in NUMBER_FIELDS and (text.startswith("+") or " " in text):
        raise ValueError
    return pack_identifier_value(text)


def _address(field: Field, value: Any) -> tuple[int | None, bytes | None]:
    v4, v6 = pack_address_value(*_text(field, value))
    if v4 is None and v6 is None:
        raise ValueError
    return v4, v6


def _mac(field: Field, value: Any) -> tuple[int]:
    mac = pack_mac_value(*_text(field, value))
    if mac is None:
        raise ValueError
    return (mac,)


def _time(field: Field, value: Any) -> tuple[int]:
    (text,) = _text(field, value)
    if not text.endswith("Z"):
        raise ValueError
    since = datetime.fromisoformat(text[:-1]).replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds,)


def _integer(field: Field, value: Any) -> tuple[int]:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    highest = PORT_MAX if "port" in field.name else SMALL_MAX if field.kind is Kind.SMALL else INTEGER_MAX
    lowest = -SMALL_MAX if field.name == "utc_offset_s" else 0
    if not lowest <= value <= highest:
        raise ValueError
    return (value,)


def _flag(_field: Field, value: Any) -> tuple[bool]:
    if not isinstance(value, bool):
        raise TypeError
    return (value,)


_FORMS: Final[dict[Kind, Callable[[Field, Any], tuple[Any, ...]]]] = {
    Kind.IDENTIFIER: _identifier,
    Kind.ADDRESS: _address,
    Kind.MAC: _mac,
    Kind.LABEL: _text,
    Kind.TEXT: _text,
    Kind.TIME: _time,
    Kind.INTEGER: _integer,
    Kind.SMALL: _integer,
    Kind.FLAG: _flag,
}
