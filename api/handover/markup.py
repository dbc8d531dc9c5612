"""XML from strangers, read without a document type; XML of ours, written.

A message is UTF-8, at most `MESSAGE_BYTES_MAX` long, at most `DEPTH_MAX` deep, of at most `ELEMENTS_MAX` elements. A
document type or an entity ends the reading before anything of it is used, so nothing expands and nothing is fetched;
comments and processing instructions are dropped.

Source: XML 1.0 (fifth edition); OWASP XML External Entity Prevention.
"""

from __future__ import annotations

import re
from typing import Any, Final, NoReturn
from xml.etree.ElementTree import Element, QName, SubElement, TreeBuilder, tostring
from xml.parsers import expat
from xml.sax.saxutils import escape

from schemas.errors import InputError

MESSAGE_BYTES_MAX: Final = 4 << 20
DEPTH_MAX: Final = 40
ELEMENTS_MAX: Final = 20_000
ATTRIBUTES_MAX: Final = 32
XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
DECLARATION: Final = b"<?xml version='1.0' encoding='utf-8'?>\n"

_STEP: Final = re.compile(r"(?:\{[^}]*\})?[^/{}]+")
_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class _Reader:
    """Builds the tree, and counts."""

    def __init__(self) -> None:
        self._builder = TreeBuilder()
        self._depth = self._elements = 0
        self.scopes: dict[str, list[str]] = {}

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._elements += 1
        if self._depth > DEPTH_MAX or self._elements > ELEMENTS_MAX or len(attributes) > ATTRIBUTES_MAX:
            raise InputError("the message is deeper or larger than messages are")
        named = {_clark(name): value for name, value in attributes.items()}
        kind = named.get(f"{{{XSI}}}type")
        if kind is not None:
            # The prefix of a type's name means what it means here and nowhere else.
            prefix, colon, local = kind.strip().rpartition(":")
            spaces = self.scopes.get(prefix if colon else "")
            named[f"{{{XSI}}}type"] = f"{{{spaces[-1]}}}{local}" if spaces else local
        self._builder.start(_clark(tag), named)

    def end(self, tag: str) -> None:
        self._depth -= 1
        self._builder.end(_clark(tag))

    def data(self, text: str) -> None:
        self._builder.data(text)

    def open_scope(self, prefix: str | None, uri: str | None) -> None:
        self.scopes.setdefault(prefix or "", []).append(uri or "")

    def close_scope(self, prefix: str | None) -> None:
        self.scopes[prefix or ""].pop()

    def close(self) -> Element:
        return self._builder.close()


def parse(message: bytes) -> Element:
    """Return the root of a message; a value of `xsi:type` is in Clark's notation (`{namespace}name`).

    Raises:
        InputError: not well-formed, not UTF-8, a document type or entity in it, too long, too deep, too many elements.
    """
    if len(message) > MESSAGE_BYTES_MAX:
        raise InputError(f"a message is at most {MESSAGE_BYTES_MAX} bytes")
    reader = _Reader()
    parser = expat.ParserCreate("utf-8", " ")
    parser.buffer_text = True
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
    parser.CharacterDataHandler = reader.data
    parser.StartNamespaceDeclHandler, parser.EndNamespaceDeclHandler = reader.open_scope, reader.close_scope
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = parser.ExternalEntityRefHandler = _refuse
    parser.XmlDeclHandler = _check_declaration
    try:
        parser.Parse(message, True)
    except expat.ExpatError:
        raise InputError("the message is not well-formed XML") from None
    return reader.close()


def _refuse(*_: Any) -> NoReturn:
    raise InputError("a message has no document type and no entities")


def _check_declaration(_version: str, encoding: str | None, _standalone: int) -> None:
    if encoding is not None and encoding.lower() not in ("utf-8", "us-ascii"):
        raise InputError("a message is UTF-8")


def _clark(name: str) -> str:
    uri, space, local = name.rpartition(" ")
    return f"{{{uri}}}{local}" if space else local


def text_of(parent: Element, path: str) -> str | None:
    """Return the stripped text of the one element at `path`; None when it is absent or empty.

    Raises:
        InputError: there are several of one step's name, or elements cut the text.
    """
    here = parent
    for step in _STEP.findall(path):
        found = here.findall(step)
        if len(found) > 1:
            raise InputError("an element stands twice where it may stand once")
        if not found:
            return None
        here = found[0]
    if len(here):
        raise InputError("an element holds others where it holds a text")
    return (here.text or "").strip() or None


def put(parent: Element, tag: str, text: str | None = None) -> Element:
    """Add a child with a text that XML can hold."""
    child = SubElement(parent, tag)
    if text is not None:
        child.text = clean(text)
    return child


def set_type(element: Element, tag: str) -> Element:
    """Set `xsi:type`, written with the prefix of its namespace."""
    element.set(f"{{{XSI}}}type", QName(tag))  # type: ignore[arg-type]  # serialised with its prefix
    return element


def to_bytes(root: Element) -> bytes:
    """Return a message in one spelling: UTF-8 with a declaration."""
    body: bytes = tostring(root, encoding="utf-8", xml_declaration=False)
    return DECLARATION + body + b"\n"


def clean(text: str) -> str:
    """Return a text without what XML 1.0 cannot hold; U+FFFD stands in its place."""
    return _FORBIDDEN.sub("\ufffd", text)


def escaped(value: Any) -> str:
    """Return a value as the text of an element."""
    return escape(clean(str(value)))
