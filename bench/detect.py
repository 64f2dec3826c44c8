"""What all detectors cost per ordinary call, beside building the call that they are given.

    python -m bench.detect [calls]

Ordinary: one of 2,000 identities from one of 500 clients calls one of 50 endpoints over TLS, 97 of 100 with success; 1
in 50 logs in.
"""

from __future__ import annotations

import hashlib
import random
import sys

from apisensor.detect.call import call_of
from apisensor.detect.detection import Detection
from apisensor.detect.model import Call
from apisensor.events.model import Address
from apisensor.sections import Detect
from apisensor.transactions.model import Auth, Transaction
from bench.side_by_side import Steps, best_of, show
from bench.transactions import transaction


def ordinary(number: int, chance: random.Random) -> Transaction:
    """One of the ordinary calls."""
    caller = chance.randrange(2000)
    identity = hashlib.sha256(b"%d" % caller).hexdigest()[:32]
    login = number % 50 == 0
    return transaction(
        number,
        method="POST" if login else "GET",
        path="/login" if login else f"/api/v1/things/{number}?page=1",
        status=chance.choices((200, 404, 401), (97, 2, 1))[0],
        request_body_size=100,
        response_body_size=chance.randrange(200, 5000),
        client=Address(f"10.0.{caller % 500 // 250}.{caller % 250}", 50_000),
        auth=None if login else Auth("bearer", identity),
        route="/login" if login else "/api/v1/things/{id}",
        login_identity=identity if login else None,
        wall_offset_ns=1_700_000_000_000_000_000,
    )


def main(count: int) -> None:
    """Prints microseconds per call and the ratio to the baseline."""
    chance = random.Random(1)
    transactions = [ordinary(number, chance) for number in range(count)]
    endpoints = [f"{number % 50:016x}" for number in range(count)]
    calls: list[Call] = [call_of(t, endpoint, "api") for t, endpoint in zip(transactions, endpoints, strict=True)]

    def steps() -> Steps:
        detection = Detection(Detect())
        return {
            "call_of (baseline)": lambda number: call_of(transactions[number], endpoints[number], "api"),
            "all detectors": lambda number: detection.observe(calls[number]),
        }

    show(best_of(steps, count))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
