"""Arrow schemas made from the table of fields.

Two shapes of one record:

* *delivered*: what decoders hand over. Identifiers, addresses and labels are strings, times are UTC microseconds.
  A decoder leaves out the columns it does not have.
* *packed*: what parts hold. Identifiers of digits are integers, IPv4 addresses are integers (see `schemas.packing`).
  A part leaves out the columns in which every row is null; a reader puts them back.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import pyarrow as pa

from schemas.fields import FIELDS, SCHEMA_VERSION, Field, Kind


class _NoPandas:
    """Says that there is no pandas."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is left out", name=name)


def _leave_pandas_out() -> None:
    """Let Arrow look for pandas now and find none; where something else installed it, its import takes 0.25 s.

    Nothing here hands pandas' columns to Arrow. Who asks Arrow for pandas' later still gets them.
    """
    if "pandas" not in sys.modules:
        sys.meta_path.insert(0, _NoPandas)
        try:
            pa.array([0])
        finally:
            sys.meta_path.remove(_NoPandas)


_leave_pandas_out()

TIME_TYPE: Final = pa.timestamp("us", tz="UTC")
LABEL_TYPE: Final = pa.dictionary(pa.int32(), pa.string())
V6_TYPE: Final = pa.binary(16)

_PACKED: Final[dict[Kind, tuple[tuple[str, pa.DataType], ...]]] = {
    Kind.IDENTIFIER: (("", pa.int64()), ("_text", pa.string())),
    Kind.ADDRESS: (("", pa.uint32()), ("_v6", V6_TYPE)),
    Kind.MAC: (("", pa.int64()),),
    Kind.LABEL: (("", LABEL_TYPE),),
    Kind.TEXT: (("", pa.string()),),
    Kind.TIME: (("", TIME_TYPE),),
    Kind.INTEGER: (("", pa.int64()),),
    Kind.SMALL: (("", pa.int32()),),
    Kind.FLAG: (("", pa.bool_()),),
}

_DELIVERED: Final[dict[Kind, pa.DataType]] = {
    Kind.IDENTIFIER: pa.string(),
    Kind.ADDRESS: pa.string(),
    Kind.MAC: pa.string(),
    Kind.LABEL: pa.string(),
    Kind.TEXT: pa.string(),
    Kind.TIME: TIME_TYPE,
    Kind.INTEGER: pa.int64(),
    Kind.SMALL: pa.int32(),
    Kind.FLAG: pa.bool_(),
}


def packed_columns(field: Field) -> tuple[pa.Field[Any], ...]:
    """Return the columns that hold `field` in a part; an identifier and an address have two."""
    return tuple(
        pa.field(field.name + suffix, kind, metadata={"field": str(field.id)}) for suffix, kind in _PACKED[field.kind]
    )


def packed_schema() -> pa.Schema:
    """Return the full schema of a part, with the schema version in its metadata."""
    columns = [column for field in FIELDS for column in packed_columns(field)]
    return pa.schema(columns, metadata={"lagrum.schema_version": str(SCHEMA_VERSION)})


def delivered_type(field: Field) -> pa.DataType:
    """Return the type in which a decoder delivers `field` (labels and identifiers may also come dictionary-encoded)."""
    return _DELIVERED[field.kind]


def delivered_schema() -> pa.Schema:
    """Return the full schema of delivered records."""
    return pa.schema([pa.field(field.name, delivered_type(field)) for field in FIELDS])


PACKED: Final = packed_schema()
DELIVERED: Final = delivered_schema()
