"""Deliveries of every format, made from the number of a record: always the same, no record twice.

Each maker returns whole deliveries as their producers write them; a call is answered, a packet session has its Start,
its interim figures and its Stop. Numbers, addresses and times differ from record to record as they do on a network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

SECONDS: Final = 80_000
"""Records begin in so many seconds of one day, each with the next."""

MAPPING: Final = """
[layout]
kind = "delimited"
delimiter = ";"
columns = ["id", "a", "b", "begun", "seconds"]
[key]
from = "id"
[fields.service_type]
value = "voice"
[fields.calling_number]
from = "a"
[fields.called_number]
from = "b"
[fields.start_time]
from = "begun"
format = "%Y%m%d%H%M%S"
[fields.duration_s]
from = "seconds"
"""
_CUCM_NAMES: Final = (
    "cdrRecordType",
    "globalCallID_callManagerId",
    "globalCallID_callId",
    "origLegCallIdentifier",
    "dateTimeOrigination",
    "origNodeId",
    "origIpAddr",
    "callingPartyNumber",
    "origCause_value",
    "destIpAddr",
    "originalCalledPartyNumber",
    "finalCalledPartyNumber",
    "destCause_value",
    "dateTimeConnect",
    "dateTimeDisconnect",
    "pkid",
    "duration",
    "origDeviceName",
    "destDeviceName",
    "globalCallId_ClusterID",
)
_CUCM_HEAD: Final = (
    ",".join(f'"{name}"' for name in _CUCM_NAMES) + "\n" + "INTEGER" + ",VARCHAR(50)" * (len(_CUCM_NAMES) - 1) + "\n"
)


class Call:
    """The values of record `number`: parties, address, and its times in s since 1970 UTC."""

    __slots__ = ("answer", "called", "calling", "end", "ip", "key", "number", "start")

    def __init__(self, number: int, midnight: int) -> None:
        mixed = number * 2654435761 % (1 << 32)
        self.number = number
        self.key = f"{mixed:08x}{number:08x}"
        self.calling = f"4670{mixed % 10_000_000:07d}"
        self.called = f"4673{mixed // 7 % 10_000_000:07d}"
        self.ip = f"100.{64 + (mixed >> 24) % 64}.{mixed >> 16 & 255}.{mixed >> 8 & 255}"
        self.start = midnight + number % SECONDS
        self.answer = self.start + 1 + mixed % 20
        self.end = self.answer + 1 + mixed % 900


def _text(seconds: int, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime(form)


def _asterisk(call: Call) -> str:
    return (
        f'"","{call.calling}","{call.called}","out","""{call.calling}"" <{call.calling}>","PJSIP/a-{call.number:08x}",'
        f'"PJSIP/b-{call.number:08x}","Dial","PJSIP/b,30","{_text(call.start)}","{_text(call.answer)}",'
        f'"{_text(call.end)}",{call.end - call.start},{call.end - call.answer},"ANSWERED","DOCUMENTATION",'
        f'"{call.start}.{call.number}","","","{call.start}.{call.number}",{call.number}\n'
    )


def _freeswitch_csv(call: Call) -> str:
    return (
        f'"{call.calling}","{call.calling}","{call.called}","public","{_text(call.start)}","{_text(call.answer)}",'
        f'"{_text(call.end)}","{call.end - call.start}","{call.end - call.answer}","NORMAL_CLEARING",'
        f'"0f6a1b2c-0001-4d00-9c00-{call.number:012x}","","cust-0042"\n'
    )


def _acc(call: Call) -> str:
    """Return an INVITE and its BYE."""
    ids = f"{call.key}@192.0.2.40"
    tail = f"{call.calling}|192.0.2.40|{call.ip}|{call.called}|{call.called}|192.0.2.41"
    return (
        f"INVITE|f{call.key}|t{call.key}|{ids}|200|OK|{call.answer}|{call.answer}|250000|{tail}\n"
        f"BYE|f{call.key}|t{call.key}|{ids}|200|OK|{call.end}|{call.end}|250000|{tail}\n"
    )


def _opensips(call: Call) -> str:
    ids = f"f{call.key}|t{call.key}|{call.key}@192.0.2.40"
    talk = call.end - call.answer
    return f"INVITE|{ids}|200|OK|{call.answer}|{talk}|{talk}250|{call.answer - call.start}|{call.start}\n"


def _cucm(call: Call) -> str:
    return (
        f'1,2,{call.number},0,{call.start},0,285217802,"{call.calling}",16,-939518966,"{call.called}","{call.called}",'
        f'0,{call.answer},{call.end},"0b7e2c1a-9f60-4d15-8e0a-{call.number:012x}",{call.end - call.answer},'
        f'"SEP0050568A1B2C","trunk-nord","nord-cluster"\n'
    )


def _mapped(call: Call) -> str:
    return f"{call.number};{call.calling};{call.called};{_text(call.start, '%Y%m%d%H%M%S')};{call.end - call.start}\n"


def _kannel(call: Call) -> str:
    return (
        f"{_text(call.start)} Sent SMS [SMSC:nord] [SVC:] [ACT:] [BINF:] [FID:{call.key}] [META:] "
        f"[from:{call.calling}] [to:+{call.called}] [flags:-1:0:-1:-1:-1] [msg:11:hello world] [udh:0:]\n"
    )


def _smpp(call: Call) -> str:
    dates = f"submit date:{_text(call.start, '%y%m%d%H%M%S')} done date:{_text(call.end, '%y%m%d%H%M%S')}"
    return (
        f"{_text(call.start)} submit_sm_resp smsc=nord message_id={call.key} source_addr={call.calling} "
        f'destination_addr={call.called} short_message="hello world"\n'
        f"{_text(call.end)} deliver_sm smsc=nord source_addr={call.called} destination_addr={call.calling} "
        f'short_message="id:{call.key} sub:001 dlvrd:001 {dates} stat:DELIVRD err:000 text:hello world"\n'
    )


def _conntrack(call: Call) -> str:
    return (
        f"[{call.start}.{call.number % 1_000_000:06d}]\t    [NEW] ipv4     2 tcp      6 120 SYN_SENT src={call.ip} "
        f"dst=203.0.113.10 sport={1024 + call.number % 60_000} dport=443 [UNREPLIED] src=203.0.113.10 dst=203.0.113.1 "
        f"sport=443 dport={1024 + call.number // 7 % 60_000} id={call.number + 1}\n"
        f"[{call.end}.{call.number % 1_000_000:06d}]\t[DESTROY] ipv4     2 tcp      6 src={call.ip} dst=203.0.113.10 "
        f"sport={1024 + call.number % 60_000} dport=443 src=203.0.113.10 dst=203.0.113.1 sport=443 "
        f"dport={1024 + call.number // 7 % 60_000} [ASSURED] id={call.number + 1}\n"
    )


def _cgnat(call: Call) -> str:
    first = 1024 + call.number % 1000 * 64
    public = f"198.51.{100 + call.number // 1000 % 100}.{call.number // 100_000 % 250 + 1}"
    words = "used/maximum [1/4] blocks"
    block = f"port block [{first}-{first + 63}] from {public} in source pool a lsys_id: 0"
    return (
        f"{_text(call.start, '%Y-%m-%dT%H:%M:%S')}Z cgn1 RT_NAT: RT_SRC_NAT_PBA_ALLOC: Subscriber {call.ip} {words}, "
        f"allocates {block} epoch 0x{call.start:x}\n"
        f"{_text(call.end, '%Y-%m-%dT%H:%M:%S')}Z cgn1 RT_NAT: RT_SRC_NAT_PBA_RELEASE: Subscriber {call.ip} {words}, "
        f"releases {block} epoch 0x{call.end:x}\n"
    )


def _kamailio_json(call: Call) -> str:
    ids = (
        f'"from_tag": "f{call.key}", "to_tag": "t{call.key}", "callid": "{call.key}@192.0.2.40", "sip_code": "200", '
        f'"sip_reason": "OK", "src_user": "{call.calling}", "src_ip": "{call.ip}", "dst_user": "{call.called}", '
        f'"dst_ouser": "{call.called}", "user_agent": "SIPp-3.6.1"}}\n'
    )
    return f'{{"time": {call.answer}, "method": "INVITE", {ids}{{"time": {call.end}, "method": "BYE", {ids}'


def _freeswitch_values(call: Call) -> Iterator[tuple[str, str]]:
    uuid = f"0f6a1b2c-0001-4d00-9c00-{call.number:012x}"
    yield from (("direction", "inbound"), ("uuid", uuid), ("session_id", str(call.number)))
    yield from (("sip_from_user", call.calling), ("sip_call_id", call.key), ("sip_network_ip", call.ip))
    yield from (("sip_user_agent", "Yealink"), ("sip_to_user", call.called), ("sip_req_user", call.called))
    yield from (("last_app", "bridge"), ("read_codec", "PCMA"), ("hangup_cause", "NORMAL_CLEARING"))
    yield from (("hangup_cause_q850", "16"), ("accountcode", "cust-0042"), ("call_uuid", uuid))
    for name, moment in (("start", call.start), ("answer", call.answer), ("end", call.end)):
        yield from ((f"{name}_epoch", str(moment)), (f"{name}_uepoch", f"{moment}123456"))
    yield from (("duration", str(call.end - call.start)), ("billsec", str(call.end - call.answer)))


def _freeswitch_json(call: Call) -> str:
    values = ",".join(f'"{name}":"{value}"' for name, value in _freeswitch_values(call))
    return (
        '{"core-uuid":"6b2c6b0e-9d5f-4a53-8f0c-3f1c7f6f9a10","switchname":"fs-sto-1","channel_data":{"state":'
        f'"CS_REPORTING","direction":"inbound","state_number":"11"}},"variables":{{{values}}},"callflow":[{{"dialplan":'
        f'"XML","caller_profile":{{"username":"{call.calling}","ani":"{call.calling}","caller_id_number":"'
        f'{call.calling}","network_addr":"{call.ip}","destination_number":"{call.called}","source":"mod_sofia",'
        f'"context":"default"}},"times":{{"created_time":"{call.start}123456","answered_time":"{call.answer}123456",'
        f'"hangup_time":"{call.end}123456"}}}}]}}\n'
    )


def _freeswitch_xml(call: Call) -> str:
    values = "".join(f"<{name}>{value}</{name}>\n" for name, value in _freeswitch_values(call))
    return (
        '<?xml version="1.0"?>\n<cdr core-uuid="6b2c6b0e-9d5f-4a53-8f0c-3f1c7f6f9a10" switchname="fs-sto-1">\n'
        f"<channel_data><direction>inbound</direction></channel_data>\n<variables>\n{values}</variables>\n"
        f'<callflow dialplan="XML"><caller_profile><caller_id_number>{call.calling}</caller_id_number>'
        f"<network_addr>{call.ip}</network_addr><destination_number>{call.called}</destination_number>"
        f"</caller_profile></callflow>\n</cdr>\n"
    )


def _broadworks(call: Call) -> str:
    at = "%Y%m%d%H%M%S.000"
    return (
        f"<cdrData><headerModule><recordId><eventCounter>{call.number:010d}</eventCounter><systemId>as1.example.net"
        f"</systemId><date>{_text(call.start, at)}</date><systemTimeZone>0+000000</systemTimeZone></recordId>"
        f"<type>Normal</type></headerModule><basicModule><userNumber>+{call.calling}</userNumber><direction>Originating"
        f"</direction><callingNumber>+{call.calling}</callingNumber><calledNumber>+{call.called}</calledNumber>"
        f"<startTime>{_text(call.start, at)}</startTime><userTimeZone>0+000000</userTimeZone><answerIndicator>Yes"
        f"</answerIndicator><answerTime>{_text(call.answer, at)}</answerTime><releaseTime>{_text(call.end, at)}"
        f"</releaseTime><terminationCause>016</terminationCause></basicModule></cdrData>\n"
    )


def _radius(call: Call) -> str:
    """Return Start, Interim-Update and Stop of a session."""
    head = (
        f'{_text(call.start, "%a %b %d %H:%M:%S %Y")}\n\tUser-Name = "{call.calling}@example.net"\n'
        f"\tNAS-IP-Address = 10.20.30.40\n\tFramed-IP-Address = {call.ip}\n"
        f'\tCalled-Station-Id = "internet.mnc001.mcc219"\n\tCalling-Station-Id = "{call.calling}"\n'
        f'\t3GPP-IMSI = "24001{call.called[:10]}"\n\t3GPP-IMEISV = "35663008{call.called[-8:]}"\n'
        f"\t3GPP-Charging-ID = {call.number}\n\t3GPP-SGSN-Address = 10.1.1.1\n\t3GPP-GGSN-Address = 10.2.2.2\n"
        "\t3GPP-User-Location-Info = 0x8212f9100000ab9b07\n\t3GPP-RAT-Type = EUTRAN\n\tService-Type = Framed-User\n"
        f'\tNAS-Port-Type = Virtual\n\tAcct-Session-Id = "{call.key}"\n'
    )
    packets = []
    half = (call.start + call.end) // 2
    for word, moment in (("Start", call.start), ("Interim-Update", half), ("Stop", call.end)):
        spent = moment - call.start
        used = (
            f"\tAcct-Session-Time = {spent}\n\tAcct-Input-Octets = {spent * 1000}\n"
            f"\tAcct-Output-Octets = {spent * 70_000}\n"
        )
        packets.append(
            f'{head}\tAcct-Status-Type = {word}\n\tEvent-Timestamp = "{_text(moment, "%b %d %Y %H:%M:%S UTC")}"\n'
            f"{'' if word == 'Start' else used}\tAcct-Delay-Time = 0\n"
            f'\tAcct-Unique-Session-Id = "{call.key}{call.key}"\n\tTimestamp = {moment}\n\n'
        )
    return "".join(packets)


@dataclass(frozen=True)
class Text:
    """A format of text: what one call writes, how many records that is, and what stands before and behind."""

    write: Callable[[Call], str]
    records: int = 1
    head: str = ""
    tail: str = ""


TEXTS: Final = {
    "asterisk-csv": Text(_asterisk),
    "freeswitch-csv": Text(_freeswitch_csv),
    "kamailio-acc": Text(_acc, 2),
    "opensips-acc": Text(_opensips),
    "cucm-cdr": Text(_cucm, head=_CUCM_HEAD),
    "mapping": Text(_mapped),
    "kannel": Text(_kannel),
    "smpp": Text(_smpp, 2),
    "conntrack": Text(_conntrack, 2),
    "cgnat-syslog": Text(_cgnat, 2),
    "freeswitch-json": Text(_freeswitch_json),
    "kamailio-json": Text(_kamailio_json, 2),
    "freeswitch-xml": Text(_freeswitch_xml),
    "broadworks-xml": Text(
        _broadworks,
        head='<?xml version="1.0" encoding="UTF-8"?>\n<broadWorksCDR version="22.0">\n',
        tail="</broadWorksCDR>\n",
    ),
    "radius-detail": Text(_radius, 3),
}


def text_of(name: str, records: int, midnight: int) -> tuple[bytes, int]:
    """Return a delivery of about so many records of a day, and how many it has."""
    form = TEXTS[name]
    calls = max(1, records // form.records)
    pieces = (form.write(Call(number, midnight)) for number in range(calls))
    return "".join((form.head, *pieces, form.tail)).encode(), calls * form.records
