"""The canonical record: one table of fields.

Arrow schemas, the JSON Schema and docs/FIELDS.md are generated from `FIELDS`; nothing else defines a field.
There is no field for content (message text, audio, URL), and there shall be none.

Source: Directive 2006/24 Art 5 (the data that "traffic data" means); the design's *Record*.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

SCHEMA_VERSION: Final = 1


class Category(StrEnum):
    """What a field tells about people; retention and disclosure are decided by category."""

    RECORD = "record"  # which record this is: identity, service, bookkeeping
    PARTY = "party"
    TIME = "time"
    ADDRESS = "address"
    EQUIPMENT = "equipment"
    LOCATION = "location"
    ROUTING = "routing"
    CHARGING = "charging"


class Kind(StrEnum):
    """How a field is written; `schemas.arrow` maps each kind to its columns."""

    IDENTIFIER = "identifier"  # digits packed in int64 (column F), anything else as text (column F_text)
    ADDRESS = "address"  # IPv4 as uint32 (column F), IPv6 as 16 bytes (column F_v6)
    MAC = "mac"  # 48 bits in int64
    LABEL = "label"  # text of low cardinality, dictionary-encoded
    TEXT = "text"
    TIME = "time"  # timestamp, µs, UTC
    INTEGER = "integer"  # int64
    SMALL = "small"  # int32
    FLAG = "flag"  # boolean


class Digest(StrEnum):
    """Whether, and how exactly, a field counts when two deliveries of one record are compared."""

    NONE = "none"  # transport or presentation: never compared
    EXACT = "exact"
    SECOND = "second"  # compared in whole seconds, rounded down: layouts truncate


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the canonical record.

    `index` names the identifier kind under which the field is searchable (a `TargetIdentifier` kind).
    """

    id: int
    name: str
    kind: Kind
    category: Category
    doc: str
    unit: str | None = None
    nullable: bool = True
    identity: bool = False
    digest: Digest = Digest.EXACT
    index: str | None = None
    source: str | None = None


_R, _P, _T, _A = Category.RECORD, Category.PARTY, Category.TIME, Category.ADDRESS
_E, _L, _O, _C = Category.EQUIPMENT, Category.LOCATION, Category.ROUTING, Category.CHARGING
_NONE, _SECOND = Digest.NONE, Digest.SECOND
_A5 = "Directive 2006/24 Art 5(1)"

FIELDS: Final[tuple[Field, ...]] = (
    # Identity and bookkeeping
    Field(
        1,
        "dedup_domain",
        Kind.LABEL,
        _R,
        "Platforms that deliver the same records by several roads share one domain.",
        nullable=False,
        identity=True,
    ),
    Field(
        2, "source", Kind.LABEL, _R, "The configured source that delivered the record.", nullable=False, digest=_NONE
    ),
    Field(3, "switch", Kind.LABEL, _R, "The network element within the source.", nullable=False, identity=True),
    Field(
        4,
        "record_key",
        Kind.IDENTIFIER,
        _R,
        "What identifies the record within its network element.",
        nullable=False,
        identity=True,
    ),
    Field(5, "batch_id", Kind.INTEGER, _R, "The delivery that brought the record.", nullable=False, digest=_NONE),
    Field(
        6,
        "batch_position",
        Kind.INTEGER,
        _R,
        "1-based position of the record in its delivery.",
        nullable=False,
        digest=_NONE,
    ),
    Field(
        7,
        "conflict",
        Kind.FLAG,
        _R,
        "The record contradicts an earlier one of the same identity.",
        nullable=False,
        digest=_NONE,
    ),
    Field(8, "service_type", Kind.LABEL, _R, "voice, sms, mms, data, voip or nat.", nullable=False, source=f"{_A5}(d)"),
    # Parties
    Field(
        10, "calling_number", Kind.IDENTIFIER, _P, "The calling party, normalised.", index="number", source=f"{_A5}(a)"
    ),
    Field(
        11,
        "called_number",
        Kind.IDENTIFIER,
        _P,
        "The party that was reached, normalised.",
        index="number",
        source=f"{_A5}(b)",
    ),
    Field(
        12,
        "dialled_number",
        Kind.IDENTIFIER,
        _P,
        "What was dialled, normalised, where it differs from the called party.",
        index="number",
        source=f"{_A5}(b)",
    ),
    Field(
        13,
        "forwarded_number",
        Kind.IDENTIFIER,
        _P,
        "The party to which the call was forwarded, normalised.",
        index="number",
        source=f"{_A5}(b)",
    ),
    Field(14, "calling_number_delivered", Kind.TEXT, _P, "As the switch wrote it, where it differs.", digest=_NONE),
    Field(15, "called_number_delivered", Kind.TEXT, _P, "As the switch wrote it, where it differs.", digest=_NONE),
    Field(16, "dialled_number_delivered", Kind.TEXT, _P, "As the switch wrote it, where it differs.", digest=_NONE),
    Field(17, "forwarded_number_delivered", Kind.TEXT, _P, "As the switch wrote it, where it differs.", digest=_NONE),
    # Time
    Field(
        20,
        "start_time",
        Kind.TIME,
        _T,
        "The attempt or session began.",
        unit="µs, UTC",
        nullable=False,
        digest=_SECOND,
        source=f"{_A5}(c)",
    ),
    Field(21, "answer_time", Kind.TIME, _T, "The call was answered.", unit="µs, UTC", digest=_SECOND),
    Field(
        22,
        "end_time",
        Kind.TIME,
        _T,
        "The communication ended; its UTC date decides the partition.",
        unit="µs, UTC",
        nullable=False,
        digest=_SECOND,
        source=f"{_A5}(c)",
    ),
    Field(
        23,
        "utc_offset_s",
        Kind.SMALL,
        _T,
        "Offset of the switch's local time.",
        unit="s",
        digest=_NONE,
        source=f"{_A5}(c)",
    ),
    Field(
        24,
        "end_inferred",
        Kind.FLAG,
        _T,
        "The end was computed or closed by timeout, not delivered.",
        nullable=False,
        digest=_NONE,
    ),
    Field(
        25,
        "time_ambiguous",
        Kind.FLAG,
        _T,
        "The local time occurs twice (autumn change; the first was taken), or the answer is not between start and end.",
        nullable=False,
        digest=_NONE,
    ),
    Field(
        26,
        "duration_ms",
        Kind.INTEGER,
        _T,
        "Duration from start, or as the switch counts it.",
        unit="ms",
        digest=_SECOND,
        source=f"{_A5}(c)",
    ),
    Field(
        27,
        "billable_duration_ms",
        Kind.INTEGER,
        _C,
        "Duration from answer, or as the switch bills it.",
        unit="ms",
        digest=_SECOND,
    ),
    # Addresses
    Field(30, "source_ip", Kind.ADDRESS, _A, "Address of the originating side.", index="ip", source=f"{_A5}(a)"),
    Field(31, "source_port", Kind.SMALL, _A, "Port of the originating side."),
    Field(32, "destination_ip", Kind.ADDRESS, _A, "Address of the terminating side.", index="ip", source=f"{_A5}(b)"),
    Field(33, "destination_port", Kind.SMALL, _A, "Port of the terminating side."),
    Field(34, "nat_ip", Kind.ADDRESS, _A, "Public address after translation.", index="ip"),
    Field(35, "nat_port_first", Kind.SMALL, _A, "First public port after translation."),
    Field(36, "nat_port_last", Kind.SMALL, _A, "Last public port after translation, inclusive."),
    Field(37, "ipv6_prefix", Kind.TEXT, _A, "Prefix delegated to the user, as address/length.", index="ip"),
    # Equipment
    Field(40, "imsi", Kind.IDENTIFIER, _E, "IMSI of the served or calling side.", index="imsi", source=f"{_A5}(e)"),
    Field(
        41,
        "imei",
        Kind.IDENTIFIER,
        _E,
        "IMEI or IMEISV as delivered; matched on 14 digits.",
        index="imei",
        source=f"{_A5}(e)",
    ),
    Field(42, "mac", Kind.MAC, _E, "MAC address of the user's equipment.", index="mac"),
    Field(43, "called_imsi", Kind.IDENTIFIER, _E, "IMSI of the called side.", index="imsi", source=f"{_A5}(e)"),
    Field(
        44,
        "called_imei",
        Kind.IDENTIFIER,
        _E,
        "IMEI of the called side; matched on 14 digits.",
        index="imei",
        source=f"{_A5}(e)",
    ),
    Field(45, "user_agent", Kind.LABEL, _E, "Software of the originating equipment."),
    # Location
    Field(50, "cell_id", Kind.IDENTIFIER, _L, "Location label at the start.", source=f"{_A5}(f)"),
    Field(51, "cell_id_end", Kind.IDENTIFIER, _L, "Location label at the end."),
    # Charging and routing
    Field(60, "volume_up_bytes", Kind.INTEGER, _C, "Bytes sent by the user.", unit="B"),
    Field(61, "volume_down_bytes", Kind.INTEGER, _C, "Bytes received by the user.", unit="B"),
    Field(
        62,
        "disposition",
        Kind.LABEL,
        _O,
        "answered, busy, no-answer, cancelled, failed, sent, received, delivery-report or closed.",
    ),
    Field(63, "cause", Kind.LABEL, _O, "Release cause as the switch codes it (SIP code, Q.850, RADIUS word)."),
    Field(64, "trunk_in", Kind.LABEL, _O, "Incoming trunk, realm or channel."),
    Field(65, "trunk_out", Kind.LABEL, _O, "Outgoing trunk, realm or channel."),
    Field(66, "partial_sequence", Kind.SMALL, _O, "Sequence number of a partial record."),
    Field(67, "call_link", Kind.IDENTIFIER, _O, "Links the legs of one call.", digest=_NONE),
    Field(68, "tenant", Kind.LABEL, _C, "The tenant whose record this is.", digest=_NONE),
    Field(69, "account", Kind.IDENTIFIER, _C, "The account that is charged, as the source tells.", digest=_NONE),
)

BY_NAME: Final[dict[str, Field]] = {field.name: field for field in FIELDS}

# Input names that carry a canonical field in another unit or under the field's other word.
INPUT_ALIASES: Final[dict[str, tuple[str, int]]] = {
    # alias -> (canonical field, multiplier)
    "duration_s": ("duration_ms", 1000),
    "billable_duration_s": ("billable_duration_ms", 1000),
    "network_element": ("switch", 1),
}

# What only the store may set; a delivery that names one is refused.
STORE_FIELDS: Final = frozenset({"dedup_domain", "source", "batch_id", "batch_position", "conflict", "time_ambiguous"})

SERVICE_TYPES: Final = ("voice", "sms", "mms", "data", "voip", "nat")

VRF_MARK: Final = "/vrf"
"""Ends a network element's name, with a number, where the record is of one of its VRFs."""


def vrf_of(element: str) -> str:
    """Return the VRF at the end of a network element's name; empty: it tells of none."""
    _, mark, vrf = element.rpartition(VRF_MARK)
    return vrf if mark else ""


NUMBER_FIELDS: Final = ("calling_number", "called_number", "dialled_number", "forwarded_number")
