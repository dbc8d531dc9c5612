"""FreeSWITCH mod_json_cdr: one JSON document per leg of a call.

Identity: (dedup domain, `switchname`, `uuid`): one record per leg. A leg that is posted again after a timeout, or
found in the error directory, is the same record.

Parties come from the call flow: its first entry is the leg as it ended, its last entry as it began. Where the call was
redirected (an `rdnis`, or another destination than at first), the dialled number is the earlier one, and the number
that was reached is the forwarded-to number too.

Times are the `*_uepoch` variables (microseconds, UTC), else `*_epoch`, else the call flow's, and only then the local
`*_stamp` in the source's zone.

Options: `encode_values` = auto (default), yes or no; see `is_encoded`. Nothing but mapped fields leaves this module:
variables hold SDP, headers and message text. What is kept of a refused body are a few named variables alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, BinaryIO, Final
from urllib.parse import unquote

import orjson

from ingest.decoders.base import Decoded
from ingest.decoders.freeswitch.blocks import See, in_blocks
from ingest.decoders.freeswitch.bodies import Body, posted, read_bodies
from ingest.decoders.freeswitch.stretch import COLUMNS, DISPOSITIONS, TEXT_COLUMNS, Row, Stretch, texts_of
from ingest.decoders.freeswitch.values import Refusal, decoder_of, encoding_option, utc_offset_s
from ingest.decoders.freeswitch.walk import DOCUMENTS, Legs, Walker, encoding_of, leg_form
from ingest.source_config import SourceConfig
from ingest.times import ZoneTimes
from schemas.rejects import RejectReason

__all__ = ["DISPOSITIONS", "FreeswitchJson", "address_of", "decode_legs", "profile_name"]

_TIME_US_MAX: Final = 253_370_764_800_000_000  # 9999-01-01
_MILLISECONDS_MAX: Final = 1 << 40
_ENDS: Final = (b"}\n", b"}\r\n")
_WITHHELD: Final = frozenset({"", "anonymous", "Anonymous", "restricted", "Restricted", "unavailable", "unknown"})


class FreeswitchJson:
    """Bodies of mod_json_cdr, as posted or as files of its log and error directories."""

    name = "freeswitch-json"
    summary = "FreeSWITCH mod_json_cdr: JSON, form or base64 bodies, one or many"
    zoned = True
    options = ("encode_values",)

    def decode(self, stream: BinaryIO, source: SourceConfig) -> Iterator[Decoded]:
        """Return the delivery's legs in order.

        Raises:
            ConfigurationError: `encode_values` is none of auto, yes and no; the zone does not exist.
            InputError: the delivery is UTF-16.
        """
        option = encoding_of(source)

        def read(some: BinaryIO, seen: See) -> Iterator[Decoded]:
            walker = Walker(leg_form(DOCUMENTS), option)
            return decode_legs(seen(read_bodies(some, walker)), source, orjson.loads, walker)

        return in_blocks(stream, _ENDS, read)

    def decode_bodies(self, bodies: Sequence[bytes], source: SourceConfig) -> tuple[Decoded, Sequence[int]] | None:
        """Return the legs of many bodies, and the last position of each body's; None beyond one stretch."""
        legs, ends = posted(bodies)
        stretches = list(decode_legs(legs, source, orjson.loads))
        return (stretches[0], ends) if len(stretches) == 1 else None


def decode_legs(
    bodies: Iterable[Body | Legs],
    source: SourceConfig,
    load: Callable[[bytes], dict[str, Any]],
    walker: Walker | None = None,
) -> Iterator[Decoded]:
    """Yield the legs that bodies hold, in order; `load` makes a document of a body's text once more.

    `walker` may hold legs of bodies that it took from the same stream.

    Raises:
        ConfigurationError: `encode_values` is none of auto, yes and no; the zone does not exist.
    """
    legs = _Legs(source)
    stretch = Stretch(source, load)
    for body in bodies:
        if isinstance(body, Legs):
            stretch.take_walked(body)
        elif body.document is None:
            stretch.refuse(body, body.reason or RejectReason.MALFORMED, None)
        else:
            try:
                stretch.take(legs.row(body.document, body), body)
            except Refusal as refusal:
                stretch.refuse(body, refusal.reason, refusal.field)
        if stretch.is_full:
            if walker is not None and (rest := walker.rest()) is not None:
                stretch.take_walked(rest)
            yield stretch.decoded()
            stretch = Stretch(source, load)
    if not stretch.is_empty:
        yield stretch.decoded()


class _Legs:
    """Makes rows of documents; what the source settles is read once."""

    def __init__(self, source: SourceConfig) -> None:
        self._element = source.element
        self._service = source.service_type or "voice"
        self._tenant = source.tenant  # what the operator says goes before what a SIP domain says
        self._option = encoding_option(source.options.get("encode_values", "auto"))
        self._zone = None if source.zone is None else ZoneTimes(source.zone)

    def row(self, document: dict[str, Any], body: Body) -> Row:
        """Return the row of one leg.

        Raises:
            Refusal: a field is missing or has not its form.
        """
        variables = document.get("variables")
        if type(variables) is not dict:
            raise Refusal(RejectReason.MISSING_FIELD, "variables")
        get = variables.get
        decode = decoder_of(self._option, variables)
        newest, oldest = _profiles(document)
        key = get("uuid") or newest.get("uuid")
        if not key:
            raise Refusal(RejectReason.MISSING_FIELD, "uuid")
        start, answer, end, ambiguous = self._times(document, variables)
        duration = _milliseconds(variables, "mduration", "uduration", "duration")
        inferred = end is None
        if end is None:
            if duration is None:
                raise Refusal(RejectReason.MISSING_FIELD, "end_uepoch")
            end = start + duration * 1000
        outbound = get("direction") == "outbound"
        trunk = decode(get("sip_gateway_name") or get("sip_gateway")) or profile_name(decode(get("channel_name")))
        called, dialled, forwarded = _called(newest, oldest, variables, decode)
        cause = get("hangup_cause")
        row = (
            body.position,
            document.get("switchname") or self._element,
            key,
            self._service,
            _calling(newest, variables, decode),
            called,
            dialled,
            forwarded,
            start,
            answer,
            end,
            inferred,
            utc_offset_s(get("start_stamp"), start),
            ambiguous,
            duration,
            _milliseconds(variables, "billmsec", "billusec", "billsec"),
            address_of(newest.get("network_addr")) or (None if outbound else address_of(decode(get("sip_network_ip")))),
            None if outbound else _port(get("sip_network_port")),
            address_of(decode(get("sip_reply_host"))) if outbound else None,
            decode(get("sip_user_agent")) or None,
            "answered" if answer else DISPOSITIONS.get(cause, "failed") if type(cause) is str else None,
            cause or None,
            None if outbound else trunk,
            trunk if outbound else None,
            _link(newest, variables, key),
            None if self._tenant else decode(get("domain_name")) or None,
            decode(get("accountcode")) or None,
        )
        _check_texts(row, body.altered)
        return row

    def _times(self, document: dict[str, Any], variables: dict[str, Any]) -> tuple[int, int | None, int | None, bool]:
        """Return start, answer and end in µs, UTC, and whether a local stamp was ambiguous."""
        get = variables.get
        try:
            start = int(get("start_uepoch") or 0)
            answer = int(get("answer_uepoch") or 0)
            end = int(get("end_uepoch") or 0)
        except (TypeError, ValueError, OverflowError):
            raise Refusal(RejectReason.BAD_TIME, "start_uepoch") from None
        ambiguous = False
        if not start or not end:
            start, answer, end, ambiguous = self._other_times(document, variables, (start, answer, end))
        if not start:
            raise Refusal(RejectReason.MISSING_FIELD, "start_uepoch")
        if not 0 < start < _TIME_US_MAX:
            raise Refusal(RejectReason.BAD_TIME, "start_uepoch")
        if not 0 <= answer < _TIME_US_MAX:
            raise Refusal(RejectReason.BAD_TIME, "answer_uepoch")
        if end and not start <= end < _TIME_US_MAX:
            raise Refusal(RejectReason.BAD_TIME, "end_uepoch")
        return start, answer or None, end or None, ambiguous

    def _other_times(
        self,
        document: dict[str, Any],
        variables: dict[str, Any],
        known: tuple[int, int, int],
    ) -> tuple[int, int, int, bool]:
        """Fill the times that `*_uepoch` lacks from epochs, the call flow, or local stamps."""
        flow = _flow(document)
        begun = flow[-1].get("times") if flow and type(flow[-1]) is dict else None
        ended = flow[0].get("times") if flow and type(flow[0]) is dict else None
        begun, ended = (part if type(part) is dict else {} for part in (begun, ended))
        others = (
            ("start", begun.get("created_time")),
            ("answer", ended.get("answered_time")),
            ("end", ended.get("hangup_time")),
        )
        times, ambiguous = [], False
        for have, (word, flowed) in zip(known, others, strict=True):
            time_us = have
            try:
                time_us = time_us or int(variables.get(f"{word}_epoch") or 0) * 1_000_000 or int(flowed or 0)
            except (TypeError, ValueError, OverflowError):
                raise Refusal(RejectReason.BAD_TIME, f"{word}_epoch") from None
            stamp = variables.get(f"{word}_stamp")
            if not time_us and stamp and self._zone is not None:
                local = self._zone.convert(unquote(stamp)) if type(stamp) is str else None
                if local is None:
                    raise Refusal(RejectReason.BAD_TIME, f"{word}_stamp")
                time_us, ambiguous = local.time_us, ambiguous or local.ambiguous
            times.append(time_us)
        return times[0], times[1], times[2], ambiguous


def _flow(document: dict[str, Any]) -> list[Any]:
    flow = document.get("callflow")
    return flow if type(flow) is list else [flow] if type(flow) is dict else []


def _profiles(document: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the caller profiles of the leg as it ended and as it began; empty where there is none."""
    flow = _flow(document)
    if not flow:
        return {}, {}
    newest = flow[0].get("caller_profile") if type(flow[0]) is dict else None
    oldest = flow[-1].get("caller_profile") if type(flow[-1]) is dict else None
    return newest if type(newest) is dict else {}, oldest if type(oldest) is dict else {}


def _calling(newest: dict[str, Any], variables: dict[str, Any], decode: Callable[[Any], Any]) -> Any:
    """Return the calling number; a withheld one gives way to what the network knows."""
    number = newest.get("caller_id_number")
    if number is None or (type(number) is str and number in _WITHHELD):
        return newest.get("ani") or decode(variables.get("sip_from_user")) or number or None
    return number or None


def _called(
    newest: dict[str, Any], oldest: dict[str, Any], variables: dict[str, Any], decode: Callable[[Any], Any]
) -> tuple[Any, Any, Any]:
    """Return the called, dialled and forwarded-to numbers; the last two only of a call that was redirected."""
    called = newest.get("destination_number") or decode(variables.get("sip_to_user")) or None
    dialled = oldest.get("rdnis") or oldest.get("destination_number")
    if dialled and called and dialled != called:
        return called, dialled, called
    return called, None, None


def _link(newest: dict[str, Any], variables: dict[str, Any], key: Any) -> Any:
    """Return what the legs of one call share: the uuid of the leg that began it."""
    link = variables.get("call_uuid") or variables.get("originator") or variables.get("originating_leg_uuid")
    if link:
        return link
    try:
        return newest["originator"]["originator_caller_profiles"][0]["uuid"] or key
    except (KeyError, IndexError, TypeError):
        return key


def _milliseconds(variables: dict[str, Any], milli: str, micro: str, seconds: str) -> int | None:
    try:
        if value := variables.get(milli):
            duration = int(value)
        elif value := variables.get(micro):
            duration = int(value) // 1000
        elif value := variables.get(seconds):
            duration = int(value) * 1000
        else:
            return None
    except (TypeError, ValueError, OverflowError):
        raise Refusal(RejectReason.BAD_FIELD, seconds) from None
    if not 0 <= duration < _MILLISECONDS_MAX:
        raise Refusal(RejectReason.BAD_FIELD, seconds)
    return duration


def _port(value: Any) -> int | None:
    if type(value) is str and value.isdecimal() and len(value) <= 5 and 0 < int(value) < 65_536:
        return int(value)
    return None


def address_of(value: Any) -> str | None:
    """Return the address that a text holds, None for a host name or anything else."""
    return _address_text(value) if value and type(value) is str else None


@lru_cache(65_536)
def _address_text(value: str) -> str | None:
    """Return the address, or None for a host name or anything else; a SIP host has brackets around IPv6."""
    try:
        return str(ip_address(value.strip("[]").partition("%")[0]))
    except ValueError:
        return None


def profile_name(channel: Any) -> str | None:
    """Return `sofia/internal` of `sofia/internal/…`: what follows names a person."""
    if type(channel) is not str:
        return None
    parts = channel.split("/", 2)
    return f"{parts[0]}/{parts[1]}" if len(parts) == 3 else parts[0] or None


def _check_texts(row: Row, altered: bool) -> None:
    """Refuse a text field that is no text, holds NUL, or lost bytes outside UTF-8."""
    try:
        text = "".join(filter(None, texts_of(row)))
        if not altered and "\x00" not in text:
            return
    except TypeError:
        pass
    for index in TEXT_COLUMNS:
        value = row[index]
        if value is None:
            continue
        if type(value) is not str or "\x00" in value:
            raise Refusal(RejectReason.BAD_FIELD, COLUMNS[index])
        if altered and "\ufffd" in value and COLUMNS[index] != "user_agent":
            raise Refusal(RejectReason.ENCODING, COLUMNS[index])
