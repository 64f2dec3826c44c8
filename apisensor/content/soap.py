"""SOAP 1.1 (W3C note, 2000) and 1.2 (W3C, 2007): action, the element that its Body holds, and the fault's code.

Read by expat up to the first child of Body, so that of a cut body what is said was said. A document type declaration
ends it before anything is expanded (SOAP 1.1 section 3 and 1.2 part 1 section 5 forbid one).
"""

from __future__ import annotations

from xml.parsers import expat

from apisensor.content.bodies import Body
from apisensor.content.identifiers import action, identifier
from apisensor.content.model import Spoken
from apisensor.content.parameters import parameter
from apisensor.protocols.message import value_of
from apisensor.transactions.model import Exchange

_NAMESPACES = {
    "http://schemas.xmlsoap.org/soap/envelope/": "1.1",
    "http://www.w3.org/2003/05/soap-envelope": "1.2",
}
_CODES = frozenset(("faultcode", "Value"))
"""Elements of a Fault that hold its code: 1.1 section 4.4; 1.2 part 1 section 5.4.1.2, where the first Value is it."""
_BLANK_FAULT = b"fault"
_DEPTH = 16
"""Of elements inside a Fault."""


def from_xml(exchange: Exchange, asked: Body, answered: Body | None) -> list[Spoken]:
    """The operation of an XML body that is an envelope; others are none."""
    if b"nvelope" not in asked.text:
        return []
    envelope = _Envelope()
    envelope.read(asked.text)
    if envelope.version is None:
        return []
    headers = exchange.request.headers
    said = value_of(headers, b"soapaction")
    if said is None:
        said = parameter(value_of(headers, b"content-type") or b"", b"action")
    element = identifier((envelope.element or "").encode("utf-8", "replace"))
    reason = None
    if envelope.element is None:
        reason = "not-parsed" if asked.whole else "body-cut"
    return [
        Spoken(
            "soap",
            envelope.version,
            action((said or b"").strip().strip(b'"')),
            fields=[] if element is None else [element],
            error=None if answered is None else _fault(answered.text),
            reason=reason,
        )
    ]


def _fault(text: bytes) -> bytes | None:
    """The fault's code without its prefix."""
    if b"Fault" not in text:
        return None
    envelope = _Envelope()
    envelope.read(text)
    if envelope.version is None or envelope.element != "Fault":
        return None
    code = envelope.code.strip().rpartition(":")[2]
    return identifier(code.encode("utf-8", "replace")) or _BLANK_FAULT


class _Done(Exception):
    """All that is wanted was read, or nothing more is to be read."""


class _Envelope:
    """What an envelope says."""

    def __init__(self) -> None:
        self.version: str | None = None
        self.element: str | None = None
        """Local name of the first element in Body."""
        self.code = ""
        self._path: list[str] = []
        """Local names of the open elements; below Body only where that holds a Fault."""
        self._in_body = False

    def read(self, text: bytes) -> None:
        """As far as there is something to learn."""
        # Whatever it declares: another encoding would have Python look for a codec, and a worker can open no file.
        parser = expat.ParserCreate("utf-8", namespace_separator=" ")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = self._refuse
        try:
            parser.Parse(text, False)
        except (_Done, expat.ExpatError):
            return

    def _start(self, tag: str, _attributes: dict[str, str]) -> None:
        namespace, _, name = tag.rpartition(" ")
        depth = len(self._path)
        if depth == 0:
            self.version = _NAMESPACES.get(namespace)
            if self.version is None or name != "Envelope":
                self.version = None
                raise _Done
        elif depth == 1 and name == "Body":
            self._in_body = True
        elif depth == 2 and self._in_body:
            self.element = name
            if name != "Fault":
                raise _Done
        if depth > _DEPTH and self._in_body:
            raise _Done
        self._path.append(name)

    def _end(self, _tag: str) -> None:
        name = self._path.pop()
        if self._in_body and (name in _CODES or name == "Body"):
            raise _Done

    def _text(self, text: str) -> None:
        if self._in_body and self._path[-1] in _CODES and len(self.code) < 256:
            self.code += text[:256]

    def _refuse(self, *_: object) -> None:
        raise _Done
