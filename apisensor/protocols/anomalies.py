"""What the parsers find odd in a message without refusing it. docs/anomalies.md is tested against this table."""

from __future__ import annotations

from typing import Final

CONTENT_LENGTH_WITH_TRANSFER_ENCODING: Final = "content-length-with-transfer-encoding"
REPEATED_CONTENT_LENGTH: Final = "repeated-content-length"
REPEATED_HOST: Final = "repeated-host"
MISSING_HOST: Final = "missing-host"
HOST_DIFFERS: Final = "host-differs-from-target"
BARE_LINE_FEED: Final = "bare-line-feed"
FOLDED_FIELD: Final = "folded-field"
SPACE_BEFORE_COLON: Final = "space-before-colon"
MALFORMED_FIELD: Final = "malformed-field"
TAB_BEHIND_CODING: Final = "tab-behind-coding"
SPACE_BEHIND_CHUNK_SIZE: Final = "space-behind-chunk-size"
NON_ASCII_TARGET: Final = "non-ascii-target"
MALFORMED_TARGET: Final = "malformed-target"
UNKNOWN_FIELD: Final = "hpack-unknown-field"
HEADER_BYTES: Final = "header-bytes-limit"
HEADER_COUNT: Final = "header-count-limit"
FLOW_BUFFER: Final = "flow-buffer-limit"
PIPELINE: Final = "pipeline-limit"
STREAMS: Final = "stream-limit"
NOT_CAPTURED: Final = "body-not-captured"
DEFLATE_INVALID: Final = "websocket-deflate-invalid"
INFLATE_LIMIT: Final = "websocket-inflate-limit"
WEBSOCKET_PART: Final = "websocket-part"

ANOMALIES: Final = {
    CONTENT_LENGTH_WITH_TRANSFER_ENCODING: "a message has both Content-Length and Transfer-Encoding (RFC 9112 section "
    "6.3): two parsers may see two different messages, which is how requests are smuggled",
    REPEATED_CONTENT_LENGTH: "a message has more than one Content-Length field line (RFC 9110 section 8.6)",
    MISSING_HOST: "a request of HTTP/1.1 has no Host field, which it must have (RFC 9112 section 3.2): some servers "
    "refuse it, some answer as the first of their hosts",
    REPEATED_HOST: "a request has more than one Host field line (RFC 9112 section 3.2); the first is its authority",
    HOST_DIFFERS: "Host names another host than the request target does, which counts (RFC 9112 section 3.2.2): who "
    "goes by Host sees a request to somebody else",
    BARE_LINE_FEED: "a line of a head, or between chunks, ends with LF and no CR (RFC 9112 sections 2.2 and 7.1): some "
    "parsers take it, some do not",
    FOLDED_FIELD: "a field goes on in a line that begins with a blank (obsolete folding, RFC 9112 section 5.2); its "
    "value is shown in one line",
    SPACE_BEFORE_COLON: "blanks stand between a field's name and its colon (RFC 9112 section 5.1): some parsers read "
    "the field, some do not, which is how requests are smuggled",
    MALFORMED_FIELD: "a field line has no colon, or its name or value has characters that they may not have (RFC 9110 "
    "sections 5.1 and 5.5): some servers leave such a line out, some read it, some refuse the message",
    TAB_BEHIND_CODING: "a tab stands behind the value of Transfer-Encoding: it does not count (RFC 9112 section 5.1), "
    "but some parsers take it for another coding, which is how requests are smuggled",
    SPACE_BEHIND_CHUNK_SIZE: "blanks stand behind the size of a chunk that has no extension (RFC 9112 section 7.1): "
    "some parsers take them, some do not",
    NON_ASCII_TARGET: "a request target has octets beyond ASCII (RFC 9112 section 3.2); it is shown as sent",
    MALFORMED_TARGET: "a request target has blanks in it, or none of the forms of RFC 9112 section 3.2, such as a path "
    "without its first slash: some servers take it, some do not; it is shown as sent",
    UNKNOWN_FIELD: "a header refers to an HPACK entry inserted before the connection was joined, or before a loss: its "
    "name or value is null",
    HEADER_BYTES: "the head exceeded the sensor's header_bytes and was not read to its end",
    HEADER_COUNT: "the message has more field lines than the sensor's header_count; the further ones are left out",
    FLOW_BUFFER: "the flow held flow_bytes of bodies already, so this body was counted and not kept",
    PIPELINE: "more requests than the sensor's max_pipelined waited for their response",
    STREAMS: "more HTTP/2 streams than the sensor's max_streams were open at once; the oldest was given up",
    DEFLATE_INVALID: "a WebSocket message is not what permessage-deflate (RFC 7692) makes; it was counted and not "
    "looked at, nor were later ones that build on it",
    INFLATE_LIMIT: "one side's compressed WebSocket messages inflate to more than 262,144 bytes; text beyond was not "
    "looked at",
    WEBSOCKET_PART: "the WebSocket was still open when this was told; what passes later is told in another transaction "
    "with the same conn_id",
    NOT_CAPTURED: "part of a body passed and was counted exactly, but not captured: sendfile and its like, the rest of "
    "a call beyond capture.call_limit, of a large body, or any body while the governor sheds; sizes are right, the "
    "content was not looked at",
}
"""name: what it says."""
