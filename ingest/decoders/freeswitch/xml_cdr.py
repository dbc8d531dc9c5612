"""FreeSWITCH mod_xml_cdr: one XML document per leg of a call.

The document says the same as mod_json_cdr's, so fields, identity ((dedup domain, `switchname`, `uuid`): one record per
leg) and times are those of `ingest.decoders.freeswitch.json_cdr`; the same leg delivered in both forms is one record.

A body is XML (`text/xml`), a form (`cdr=` and URL-encoded XML), base64, or `cdr=` and plain XML: its first bytes tell.
A stream holds one or many, one after the other.

Option: `encode_values` = auto (default), yes or no: whether values are URL-encoded, which mod_xml_cdr's are.

XML is read by `ingest.decoders.xml_records`: no document type, so no entities. Nothing but mapped fields leaves.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from typing import Any, BinaryIO, Final
from urllib.parse import unquote_to_bytes
from xml.etree.ElementTree import Element

from ingest.decoders.base import Decoded
from ingest.decoders.freeswitch.blocks import See, in_blocks
from ingest.decoders.freeswitch.bodies import Body
from ingest.decoders.freeswitch.json_cdr import decode_legs
from ingest.decoders.freeswitch.walk import ELEMENTS, Legs, Walker, encoding_of, leg_form
from ingest.decoders.slices import is_utf8
from ingest.decoders.xml_records import UTF8, Marks, Piece, parse_element, read_pieces
from ingest.source_config import SourceConfig
from ingest.window import Window
from schemas.rejects import RejectReason

_MARKS: Final = Marks("cdr", "cdr=(?=<)")
_ENDS: Final = (b"</cdr>\n", b"</cdr>\r\n")
_Document = dict[str, Any]


class FreeswitchXml:
    """Bodies of mod_xml_cdr, as posted or as files of its log and error directories."""

    name = "freeswitch-xml"
    summary = "FreeSWITCH mod_xml_cdr: XML, form or base64 bodies, one or many"
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
            walker = Walker(leg_form(ELEMENTS), option)
            return decode_legs(seen(_bodies(some, walker)), source, _loaded, walker)

        return in_blocks(stream, _ENDS, read)


def _bodies(stream: BinaryIO, walker: Walker) -> Iterator[Body | Legs]:
    """Yield the stream's bodies, `text` being their XML in UTF-8; and as legs what `walker` takes."""
    position, done = 0, None

    def take(window: Window, encoding: str) -> bool:
        nonlocal position, done
        rows, done = walker.walk(window, position + 1) if encoding == UTF8 else (0, None)
        position += rows
        return rows > 0 or done is not None

    for piece in read_pieces(stream, _MARKS, _is_wrapped, take):
        if piece is None:
            if done is not None:
                yield done
            continue
        position += 1
        found = None if piece.reason is not None else _read(piece)
        recoded = piece.encoding != UTF8
        if found is None:
            reason = piece.reason or RejectReason.MALFORMED
            yield Body(position, piece.offset, piece.length_bytes, None, reason)
        else:
            document, text, altered = found
            yield Body(position, piece.offset, piece.length_bytes, document, None, text, altered, recoded)
    if (rest := walker.rest()) is not None:
        yield rest


def _read(piece: Piece) -> tuple[_Document, bytes, bool] | None:
    """Return a body's document, its XML in UTF-8, and whether bytes outside UTF-8 had to be replaced."""
    text = piece.data if piece.is_element else _unwrapped(piece.data)
    if text is None:
        return None
    if piece.encoding != "utf-8":
        text = text.decode(piece.encoding, "replace").encode()
    altered = not is_utf8(text)
    if altered:
        text = text.decode("utf-8", "replace").encode()
    document = _load(text)
    return None if document is None else (document, text, altered)


def _is_wrapped(joined: bytes) -> bool:
    text = _unwrapped(joined)
    return text is not None and parse_element(text) is not None


def _unwrapped(line: bytes) -> bytes | None:
    """Return the XML of a form or base64 body, None when it is neither."""
    line = line.strip()
    for field in line.split(b"&") if b"=" in line[:64] else (line,):
        value = field.removeprefix(b"cdr=")
        if value[:3].upper() == b"%3C":
            return unquote_to_bytes(value.replace(b"+", b" "))
        if value.startswith((b"PD94", b"PGNk")):  # base64 of `<?x` and `<cd`
            value = unquote_to_bytes(value) if b"%" in value else value
            try:
                return binascii.a2b_base64(value + b"=" * (-len(value) % 4), strict_mode=False)
            except binascii.Error:
                return None
    return None


def _loaded(text: bytes) -> _Document:
    document = _load(text)
    assert document is not None, "it was read before"
    return document


def _load(text: bytes) -> _Document | None:
    """Return the document as mod_json_cdr would write it, as far as it is read; None when it is none."""
    root = parse_element(text)
    if root is None or root.tag != "cdr":
        return None
    variables = root.find("variables")
    return {
        "switchname": root.get("switchname"),
        "variables": {} if variables is None else _texts(variables),
        "callflow": [
            {"caller_profile": _profile(entry), "times": _texts(entry.find("times"))}
            for entry in root.findall("callflow")
        ],
    }


def _profile(entry: Element) -> _Document:
    profile = entry.find("caller_profile")
    if profile is None:
        return {}
    fields: _Document = dict(_texts(profile))
    originator = profile.find("originator/originator_caller_profile")
    if originator is not None:
        fields["originator"] = {"originator_caller_profiles": [_texts(originator)]}
    return fields


def _texts(parent: Element | None) -> dict[str, str]:
    """Return the texts of an element's children by name; of several with one name, the first."""
    found: dict[str, str] = {}
    for child in () if parent is None else parent:
        if len(child) == 0:
            found.setdefault(child.tag, child.text or "")
    return found
