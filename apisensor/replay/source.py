"""Opens what the user named and recognises its format by its first bytes; a byte source that knows its offset."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from typing import BinaryIO

from apisensor.replay.errors import ReplayError

RECORDING_MAGIC = b"\x0a\x0a\x08APISREC1"
"""First bytes of a recording: a length-delimited record whose only field is `magic` (protos/recording.proto)."""

_PCAP = {
    b"\xd4\xc3\xb2\xa1": "pcap",
    b"\xa1\xb2\xc3\xd4": "pcap",
    b"\x4d\x3c\xb2\xa1": "pcap",
    b"\xa1\xb2\x3c\x4d": "pcap",
    b"\x0a\x0d\x0d\x0a": "pcapng",
}

_FOREIGN = (
    (b"\x1f\x8b", "it is gzip-compressed: decompress it first (zcat FILE | apisensor replay -)"),
    (b"\x28\xb5\x2f\xfd", "it is zstd-compressed: decompress it first (zstdcat FILE | apisensor replay -)"),
    (b"\xfd7zXZ\x00", "it is xz-compressed: decompress it first (xzcat FILE | apisensor replay -)"),
    (b"BZh", "it is bzip2-compressed: decompress it first (bzcat FILE | apisensor replay -)"),
    (b"\x04\x22\x4d\x18", "it is lz4-compressed: decompress it first (lz4cat FILE | apisensor replay -)"),
    (b"PK\x03\x04", "it is a zip archive: extract the capture first"),
    (b"\x34\xcd\xb2\xa1", "it is a pcap of the old modified format (Kuznetzov): convert it with editcap -F pcapng"),
    (b"\xa1\xb2\xcd\x34", "it is a pcap of the old modified format (Kuznetzov): convert it with editcap -F pcapng"),
    (b"snoop\x00\x00\x00", "it is a snoop file: convert it with editcap -F pcapng"),
    (b"\x7fELF", "it is an ELF program"),
)

_PIECE = 1 << 16
"""Bytes skipped or read at a time."""


class ByteSource:
    """Reads exact amounts from a binary file and knows where it is. Works on pipes; never seeks."""

    def __init__(self, read: Callable[[int], bytes], name: str = "the file") -> None:
        self._read = read
        self._ahead = b""
        self.name = name
        self.offset = 0
        """Bytes taken so far."""

    def peek(self, count: int) -> bytes:
        """The next bytes without taking them; fewer than `count` only at the end."""
        if len(self._ahead) < count:
            self._ahead += self._fetch(count - len(self._ahead))
        return self._ahead[:count]

    def take(self, count: int, what: str) -> bytes:
        """Exactly `count` bytes.

        Raises:
            ReplayError: The file ends before; `what` names the part that is cut.
        """
        got = self.take_or_end(count, what)
        if got is None:
            raise self.truncated(what, count, 0)
        return got

    def take_or_end(self, count: int, what: str) -> bytes | None:
        """Exactly `count` bytes, or None where the file ends right here. Raises as `take`."""
        if self._ahead:
            got, self._ahead = self._ahead[:count], self._ahead[count:]
            if len(got) < count:
                got += self._fetch(count - len(got))
        else:
            got = self._fetch(count)
        if len(got) == count:
            self.offset += count
            return got
        if not got and count:
            return None
        raise self.truncated(what, count, len(got))

    def skip(self, count: int, what: str) -> None:
        """Takes bytes that nobody looks at. Raises as `take`."""
        while count > 0:
            count -= len(self.take(min(count, _PIECE), what))

    def truncated(self, what: str, wanted: int, got: int) -> ReplayError:
        """The error for a file that ends inside `what`, which starts at the current offset."""
        return ReplayError(
            f"{self.name} is truncated: {what} at offset {self.offset} should have {wanted} bytes, the file ends after "
            f"{got}; everything before it was read"
        )

    def corrupt(self, offset: int, why: str) -> ReplayError:
        """The error for bytes at `offset` that the format does not allow."""
        return ReplayError(f"{self.name} is corrupt at offset {offset}: {why}; everything before it was read")

    def _fetch(self, count: int) -> bytes:
        try:
            got = self._read(count)
            while len(got) < count:  # a raw file may return less than asked for before its end
                more = self._read(count - len(got))
                if not more:
                    break
                got += more
        except OSError as error:
            raise ReplayError(
                f"{self.name} cannot be read beyond offset {self.offset}: {error.strerror or error}"
            ) from None
        return got


def open_file(path: str) -> BinaryIO:
    """Opens a capture for reading; "-" is standard input.

    Raises:
        ReplayError: It does not exist, is a directory or may not be read.
    """
    if path == "-":
        return sys.stdin.buffer
    try:
        file = open(path, "rb")  # noqa: SIM115 - the caller closes it
    except IsADirectoryError:
        raise ReplayError(f"{path} is a directory: name a .pcap, .pcapng or recording file in it") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ReplayError(f"{path} cannot be opened: {reason}") from None
    mode = os.fstat(file.fileno()).st_mode
    if stat.S_ISBLK(mode):
        file.close()
        raise ReplayError(f"{path} is a block device: name a .pcap, .pcapng or recording file")
    return file


def recognise(source: ByteSource) -> str:
    """ "pcap", "pcapng" or "recording", from the first bytes, which are not taken.

    Raises:
        ReplayError: It is none of them; says what it looks like.
    """
    head = source.peek(len(RECORDING_MAGIC))
    if head[:4] in _PCAP:
        return _PCAP[head[:4]]
    if head == RECORDING_MAGIC:
        return "recording"
    if not head:
        raise ReplayError(f"{source.name} is empty: there is nothing to replay")
    for magic, what in _FOREIGN:
        if head.startswith(magic):
            raise ReplayError(f"{source.name} cannot be replayed: {what}")
    if RECORDING_MAGIC.startswith(head) or any(magic.startswith(head) for magic in _PCAP):
        raise ReplayError(f"{source.name} is truncated: it ends after {len(head)} bytes, in the format's first field")
    shown = ascii(head[:8])[1:] if all(32 <= byte < 127 for byte in head[:8]) else head[:8].hex(" ")
    raise ReplayError(
        f"{source.name} is no packet capture (pcap, pcapng) and no recording of apisensor: it starts with {shown}"
    )
