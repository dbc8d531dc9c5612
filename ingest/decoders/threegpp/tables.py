"""TS 32.298 records as data: for every record type, which tag holds which field.

The same tag number means different fields in different types, so each type has its own table. Tags that are not named
are skipped. Names are those by which `threegpp_columns` asks for fields; the types of a family share them.

Source: 3GPP TS 32.298 §5.2 (ASN.1 of the records, V17), TS 32.250, 32.251, 32.260, 32.274 and 32.255 (meaning).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ingest.decoders.ber.walk import CONTEXT, SEQUENCE, Level


class Family(StrEnum):
    """Types whose fields become columns in the same way."""

    CALL = "call"  # circuit-switched calls
    MESSAGE = "message"  # short messages through an MSC, SGSN or MME
    DATA = "data"  # packet-switched bearers
    IMS = "ims"
    CHARGING = "charging"  # 5G charging function


@dataclass(frozen=True)
class RecordType:
    """One record type.

    `choice` is its tag in the record's CHOICE, `number` its RecordType. `letters` begin its record keys.
    `called` tells that the served subscriber is the called party.
    """

    name: str
    choice: int
    number: int
    family: Family
    letters: str
    fields: Level
    called: bool = False


def _level(**tags: int) -> Level:
    return Level({CONTEXT | tag: name for name, tag in tags.items()})


def _nested(below: dict[int, str | Level], **tags: int) -> Level:
    named: dict[int, str | Level] = {CONTEXT | tag: name for name, tag in tags.items()}
    return Level(named | {CONTEXT | tag: level for tag, level in below.items()})


# Clause 5.2.2: circuit-switched domain. TS 32.250 §6.1.
_MO_CALL = _level(
    type=0, imsi=1, imei=2, msisdn=3, calling=4, called=5, translated=6, connected=7, switch=9, trunk_in=10,
    trunk_out=11, cell=12, seizure=22, answer=23, release=24, duration=25, cause=30, diagnostics=31, reference=32,
    sequence=33, network_reference=38,
)  # fmt: skip
_MT_CALL = _level(
    type=0, imsi=1, imei=2, msisdn=3, calling=4, connected=5, switch=6, trunk_in=7, trunk_out=8, cell=9, seizure=19,
    answer=20, release=21, duration=22, cause=27, diagnostics=28, reference=29, sequence=30, network_reference=33,
)  # fmt: skip
_ROAMING = _level(
    type=0, imsi=1, msisdn=2, calling=3, switch=5, trunk_in=6, trunk_out=7, seizure=12, answer=13,
    release=14, duration=15, cause=17, diagnostics=18, reference=19, sequence=20, network_reference=22,
)  # fmt: skip
_GATEWAY = _level(
    type=0, calling=1, called=2, switch=3, trunk_in=4, trunk_out=5, seizure=6, answer=7, release=8, duration=9,
    cause=11, diagnostics=12, reference=13, sequence=14,
)  # fmt: skip
_TRANSIT = _level(
    type=0, switch=1, trunk_in=2, trunk_out=3, calling=4, called=5, seizure=7, answer=8, release=9, duration=10,
    cause=12, diagnostics=13, reference=14, sequence=15,
)  # fmt: skip
_MO_SMS = _level(
    type=0, imsi=1, imei=2, msisdn=3, centre=5, switch=6, cell=7, reference=8, time=9, result=10, destination=12
)
_MT_SMS = _level(type=0, centre=1, imsi=2, imei=3, msisdn=4, switch=6, cell=7, time=8, result=9)

# Clause 5.2.3: packet-switched domain. TS 32.251 §6.1.
_GATEWAY_DATA = {
    "type": 0, "imsi": 3, "node": 4, "charging": 5, "serving": 6, "apn": 7, "address": 9, "volumes": 12, "opening": 13,
    "duration": 14, "cause": 15, "record_sequence": 17, "node_name": 18, "local_sequence": 20, "msisdn": 22, "imei": 29,
    "location": 32, "start": 38, "stop": 39,
}  # fmt: skip
_PGW = _level(**_GATEWAY_DATA, service_volumes=34, address_ext=45)
_SGW = _level(**_GATEWAY_DATA, address_ext=43)
_GGSN = _level(**{name: tag for name, tag in _GATEWAY_DATA.items() if name not in ("start", "stop")})
_SGSN = _level(
    type=0, imsi=3, imei=4, node=5, area=8, cell=9, charging=10, serving=11, apn=12, address=14, volumes=15, opening=16,
    duration=17, cause=19, record_sequence=21, node_name=22, local_sequence=24, msisdn=27, address_ext=36,
)  # fmt: skip
_SGSN_MO_SMS = _level(
    type=0, imsi=1, imei=2, msisdn=3, centre=5, switch=6, area=7, cell_only=9, reference=10, time=11, result=12,
    local_sequence=15, destination=18, node=22, node6=23, location=26,
)  # fmt: skip
_SGSN_MT_SMS = _level(
    type=0, imsi=1, imei=2, msisdn=3, centre=5, switch=6, area=7, cell_only=9, time=10, result=11, local_sequence=14,
    originator=19, node=21, node6=22, location=25,
)  # fmt: skip

# Clause 5.2.4.1: IMS. InvolvedParty is a choice of URIs and E.164; a list holds several of them.
_PARTY = {0: "sip", 1: "tel", 2: "urn", 3: "e164", 4: "external"}


def _parties(prefix: str) -> Level:
    return Level({CONTEXT | tag: f"{prefix}_{name}" for tag, name in _PARTY.items()})


_IMS = _nested(
    {6: _parties("calling"), 7: _parties("called"), 41: _parties("requested")},
    type=0, method=2, role=3, node=4, session=5, request=9, delivery=10, end=11, opening=12, closure=13,
    local_sequence=15, record_sequence=16, cause=17, icid=19, reason=23, access=29, request_ms=37, delivery_ms=38,
    end_ms=39, location=47,
)  # fmt: skip
_IMS_TRUNKS = Level({**_IMS.wanted, CONTEXT | 80: Level({CONTEXT | 0: "trunk_in", CONTEXT | 1: "trunk_out"})})

# Clause 5.2.5.2: the charging function's record. TS 32.255 §6.1 and TS 32.274 §6.1.
_EQUIPMENT = Level({CONTEXT | 0: "equipment_type", CONTEXT | 1: "equipment"})
_SMS_PARTY = Level({CONTEXT | 1: "msisdn", CONTEXT | 0: "imsi", CONTEXT | 2: Level({CONTEXT | 1: "other"})})
_SESSION = _nested(
    {
        1: _parties("user"),
        2: _EQUIPMENT,
        14: Level({CONTEXT | 0: "ipv4", CONTEXT | 1: "ipv6"}),
    },
    location=3, apn=13, start=17, stop=18, location_structured=35,
)  # fmt: skip


def _renamed(level: Level, prefix: str) -> Level:
    return Level(
        {tag: prefix + what if isinstance(what, str) else _renamed(what, prefix) for tag, what in level.wanted.items()},
        level.first,
    )


_SMS = _nested(
    {
        1: _renamed(_SMS_PARTY, "originator_"),
        2: Level({SEQUENCE: _renamed(_SMS_PARTY, "recipient_")}, first=True),
        3: _renamed(_EQUIPMENT, "sms_"),
    },
    sms_location=4, centre=7, event=8, sms_type=21, result=29,
)  # fmt: skip
_CHF = _nested(
    {
        2: Level({CONTEXT | 0: "subscriber_type", CONTEXT | 1: "subscriber"}),
        3: Level({CONTEXT | 1: "consumer"}),
        13: _SESSION,
        15: _SMS,
    },
    type=0, node=1, usage=5, opening=6, duration=7, record_sequence=8, cause=9, local_sequence=11, session=16,
    tenant=23, charging=27,
)  # fmt: skip

_CALL, _MESSAGE, _DATA = Family.CALL, Family.MESSAGE, Family.DATA

RECORD_TYPES: Final[tuple[RecordType, ...]] = (
    RecordType("MOCallRecord", 0, 0, _CALL, "mo", _MO_CALL),
    RecordType("MTCallRecord", 1, 1, _CALL, "mt", _MT_CALL, called=True),
    RecordType("RoamingRecord", 2, 2, _CALL, "ro", _ROAMING, called=True),
    RecordType("IncGatewayRecord", 3, 3, _CALL, "ig", _GATEWAY),
    RecordType("OutGatewayRecord", 4, 4, _CALL, "og", _GATEWAY),
    RecordType("TransitCallRecord", 5, 5, _CALL, "tr", _TRANSIT),
    RecordType("MOSMSRecord", 6, 6, _MESSAGE, "so", _MO_SMS),
    RecordType("MTSMSRecord", 7, 7, _MESSAGE, "st", _MT_SMS, called=True),
    RecordType("SGSNPDPRecord", 20, 18, _DATA, "sg", _SGSN),
    RecordType("GGSNPDPRecord", 21, 19, _DATA, "gg", _GGSN),
    RecordType("SGSNSMORecord", 23, 21, _MESSAGE, "po", _SGSN_MO_SMS),
    RecordType("SGSNSMTRecord", 24, 22, _MESSAGE, "pt", _SGSN_MT_SMS, called=True),
    RecordType("SCSCFRecord", 63, 63, Family.IMS, "is", _IMS),
    RecordType("PCSCFRecord", 64, 64, Family.IMS, "ip", _IMS),
    RecordType("ICSCFRecord", 65, 65, Family.IMS, "ii", _IMS),
    RecordType("MRFCRecord", 66, 66, Family.IMS, "im", _IMS),
    RecordType("MGCFRecord", 67, 67, Family.IMS, "ij", _IMS_TRUNKS),
    RecordType("BGCFRecord", 68, 68, Family.IMS, "ib", _IMS),
    RecordType("ASRecord", 69, 69, Family.IMS, "ia", _IMS),
    RecordType("ECSCFRecord", 70, 70, Family.IMS, "ie", _IMS),
    RecordType("SGWRecord", 78, 84, _DATA, "sw", _SGW),
    RecordType("PGWRecord", 79, 85, _DATA, "pw", _PGW),
    RecordType("IBCFRecord", 82, 82, Family.IMS, "ic", _IMS),
    RecordType("TRFRecord", 89, 89, Family.IMS, "it", _IMS),
    RecordType("TFRecord", 90, 90, Family.IMS, "if", _IMS),
    RecordType("ATCFRecord", 91, 91, Family.IMS, "ix", _IMS),
    RecordType("EPDGRecord", 96, 96, _DATA, "ep", _SGW),
    RecordType("TWAGRecord", 97, 97, _DATA, "tw", _SGW),
    RecordType("ChargingRecord", 200, 200, Family.CHARGING, "ch", _CHF),
)
"""Every type that is stored."""

SHARED_CHOICES: Final = (20, 21, 22)
"""Tags that TS 32.298 gives to a circuit-switched and to a packet-switched type: only the RecordType tells."""

CONTENT_FREE_CHOICES: Final = frozenset(
    {*range(28), *(one.choice for one in RECORD_TYPES), 76, 77, 86, 92, 93, 94, 95, 110, 111, 112, 113}
)
"""Types that are known to have no field for content, so that a refused record may be kept as it came."""
