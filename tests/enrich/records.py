"""Records and transactions for the tests of attribution."""

from __future__ import annotations

from typing import Any

from apisensor.content.inspector import Inspector
from apisensor.enrich.model import ProcessSeen, TlsLibrary
from apisensor.redact.ids import IdSource
from apisensor.redact.redactor import Redactor
from apisensor.transactions.model import Transaction
from tests.content.exchanges import exchange


def seen(pid: int, time_ns: int, **fields: Any) -> ProcessSeen:
    usual = {"executable": f"/bin/p{pid}-{time_ns}", "uid": 0, "libraries": [TlsLibrary("/lib/libssl.so.3", "openssl")]}
    return ProcessSeen(pid, time_ns, **{**usual, **fields})


def transaction(pid: int, start_ns: int, **fields: Any) -> Transaction:
    raw = exchange(pid=pid, **fields)
    raw.request.start_ns = start_ns
    return Redactor(bytes(32), IdSource()).transaction(raw, Inspector().inspect(raw))
