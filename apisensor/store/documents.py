"""Transactions as they lie in the database: msgpack, compressed with a dictionary that lies beside them.

It is the form in which workers send them: without field names, made in a third of the time of the public JSON, which a
reader makes of it. Version 1 of the tables kept the JSON itself; such rows are read as they are.

Documents are small and alike, which is what zstandard's dictionaries are for: they make a document four times smaller
than compression alone. A dictionary is trained from samples out of which everything that tells one call from another
was taken (addresses, ids, identities, paths), and is kept as long as the database.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, overload

import msgspec
import zstandard

from apisensor.store.model import Document
from apisensor.transactions.json_form import public
from apisensor.transactions.model import Transaction

LEVEL = 1
"""With a dictionary, zstandard's default of 3 takes a third more time for a fiftieth of the size."""
DICTIONARY_BYTES = 16 * 1024
SAMPLES = 600
"""For one training, some 25 times the dictionary's size: less is refused by the trainer where documents are small."""
FIRST_TRAINING = 1_000
TRAINING_FACTOR = 30
"""A dictionary is trained after 1,000 transactions, 30,000, 900,000 ...: early, and again when more was seen; the
number of dictionaries grows with the logarithm of what was stored."""
FIRST_NUMBER = 1 << 15
"""Of private dictionaries (RFC 8878 section 5)."""
LARGEST_DOCUMENT = 16 * 1024 * 1024
"""Bytes of one document, decompressed: far above what limits of heads allow; a damaged frame may claim anything."""

Load = Callable[[int], bytes | None]
"""Number of a dictionary: its bytes."""

_JSON_BEGINS = b"{"
_json = msgspec.json.Encoder().encode
_parse: Callable[[bytes], Document] = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Transaction).decode


@overload
def pack(text: str) -> bytes | str: ...
@overload
def pack(text: None) -> None: ...
@overload
def pack(text: str | None) -> bytes | str | None: ...
def pack(text: str | None) -> bytes | str | None:
    """Hexadecimal text as bytes, half as long; other text as it is."""
    if text is None:
        return None
    try:
        packed = bytes.fromhex(text)
    except ValueError:
        return text
    return packed if packed.hex() == text else text


def unpack(value: bytes | str | None) -> str | None:
    """What pack was given."""
    return value.hex() if isinstance(value, bytes) else value


def sample(t: Transaction) -> bytes:
    """What a dictionary may learn from: field lines, routes, programs; not whose call it was or what it asked for."""
    replace = msgspec.structs.replace
    blanked = replace(
        t, id="", authority=None, path=None, login_identity=None, trace_id="", span_id="", parent_span_id=None,
        start_ns=0, wall_offset_ns=0, conn_id=None, flow_id="", client=None, server=None, pid=0,
        auth=None if t.auth is None else replace(t.auth, identity=None),
        process=None if t.process is None else replace(t.process, pid=0, command_line=None),
    )  # fmt: skip
    return _encode(blanked)


class Decoder:
    """Documents out of frames; dictionaries are loaded when a frame names them."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._known: dict[int, zstandard.ZstdDecompressor] = {}

    def json(self, body: bytes) -> bytes:
        """The public JSON form.

        Raises:
            zstandard.ZstdError: it is no frame, or its dictionary is gone.
            msgspec.MsgspecError: it has no transaction in it.
        """
        number = zstandard.get_frame_parameters(body).dict_id
        decompressor = self._known.get(number)
        if decompressor is None:
            data = self._load(number) if number else None
            if number and data is None:
                raise zstandard.ZstdError(f"dictionary {number} is missing")
            decompressor = self._known[number] = zstandard.ZstdDecompressor(
                dict_data=None if data is None else zstandard.ZstdCompressionDict(data)
            )
        content = decompressor.decompress(body, max_output_size=LARGEST_DOCUMENT)
        return content if content.startswith(_JSON_BEGINS) else _json(public(_decode(content)))

    def document(self, body: bytes) -> Document:
        return _parse(self.json(body))


class Encoder:
    """Frames out of documents; trains dictionaries while it goes."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        newest = connection.execute(
            "SELECT since_seq, body FROM dictionaries ORDER BY since_seq DESC LIMIT 1"
        ).fetchone()
        self._next = FIRST_TRAINING if newest is None else max(FIRST_TRAINING, newest[0]) * TRAINING_FACTOR
        self._samples: list[bytes | bytearray | memoryview] = []
        self._use(None if newest is None else newest[1])

    def _use(self, dictionary: bytes | None) -> None:
        data = None if dictionary is None else zstandard.ZstdCompressionDict(dictionary)
        if data is not None:
            data.precompute_compress(level=LEVEL)
        # The database has checksums of neither, but a page of garbage should not become a wrong document.
        self._compress = zstandard.ZstdCompressor(level=LEVEL, dict_data=data, write_checksum=True).compress

    def encode(self, t: Transaction, seq: int) -> bytes:
        # The samples are spread over the last half of the way to the training.
        if seq * 2 >= self._next and len(self._samples) < SAMPLES and seq % max(1, self._next // 2 // SAMPLES) == 0:
            self._samples.append(sample(t))
        return self._compress(_encode(t))

    def train(self, seq: int) -> None:
        """A new dictionary, where it is time. Within a transaction of the database."""
        if seq < self._next:
            return
        samples, self._samples = self._samples, []
        if len(samples) < SAMPLES // 2:
            # It began in the middle of the way.
            self._next = seq * 2
            return
        self._next = seq * TRAINING_FACTOR
        last = self._connection.execute("SELECT max(number) FROM dictionaries").fetchone()[0]
        number = FIRST_NUMBER if last is None else last + 1
        dictionary = zstandard.train_dictionary(DICTIONARY_BYTES, samples, k=256, d=8, dict_id=number)
        self._connection.execute("INSERT INTO dictionaries VALUES (?, ?, ?)", (number, seq, dictionary.as_bytes()))
        self._use(dictionary.as_bytes())
