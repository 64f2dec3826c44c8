from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.enrich.model import ProcessGone, TlsLibrary
from apisensor.enrich.processes import ProcessTable
from apisensor.enrich.waiting import Waiting
from apisensor.transactions.model import Process, Tls
from tests.enrich.records import seen, transaction

S = 1_000_000_000


def test_known_goes_on_at_once() -> None:
    waiting = Waiting(ProcessTable())
    assert waiting.put(seen(7, S)) == []
    t = transaction(7, 2 * S)
    assert waiting.offer(t, 2 * S) == [t]
    assert t.process is not None
    assert t.process.executable is not None
    assert (len(waiting), waiting.unattributed) == (0, 0)


def test_waits_for_its_record() -> None:
    waiting = Waiting(ProcessTable())
    first, other, second = transaction(7, 2 * S), transaction(8, 2 * S), transaction(7, 2 * S)
    for t in (first, other, second):
        assert waiting.offer(t, 2 * S) == []
    assert waiting.put(ProcessGone(7, 0)) == []
    assert waiting.put(seen(9, S)) == []
    assert waiting.put(seen(7, 5 * S)) == []  # too young to be theirs
    assert waiting.put(seen(7, S)) == [first, second]
    assert first.process is not None
    assert first.process.executable == f"/bin/p7-{S}"
    assert len(waiting) == 1
    assert waiting.unattributed == 0


def test_does_not_wait_longer_than_it_may() -> None:
    waiting = Waiting(ProcessTable(), wait_ns=S)
    first, second = transaction(7, S), transaction(7, S)
    waiting.offer(first, 10 * S)
    waiting.offer(second, 10 * S + 5)
    assert waiting.expired(11 * S - 1) == []
    assert waiting.expired(11 * S) == [first]
    assert first.process == Process(7)
    third = transaction(9, S)
    assert waiting.offer(third, 20 * S) == [second]
    assert (len(waiting), waiting.unattributed, waiting.overflowed) == (1, 2, 0)
    assert waiting.drain() == [third]
    assert (len(waiting), waiting.unattributed) == (0, 3)


def test_waits_for_the_library_that_its_bytes_came_from() -> None:
    """The first call through a library can be over before capture has told that the process uses it."""
    waiting = Waiting(ProcessTable())
    assert waiting.put(seen(7, S, libraries=[])) == []
    first, plain = transaction(7, 2 * S), transaction(7, 2 * S, tls=False)
    assert waiting.offer(first, 2 * S) == []
    assert waiting.offer(plain, 2 * S) == [plain]
    assert waiting.put(seen(7, S, libraries=[TlsLibrary("/lib/libssl.so.3", "openssl")])) == [first]
    assert first.tls == Tls("openssl")
    assert (len(waiting), waiting.unattributed) == (0, 0)


def test_waits_for_a_library_once() -> None:
    waiting = Waiting(ProcessTable(), wait_ns=S)
    assert waiting.put(seen(7, S, libraries=[])) == []
    first, second, third = (transaction(7, 2 * S) for _ in range(3))
    assert waiting.offer(first, 2 * S) == []
    assert waiting.offer(second, 3 * S) == [first, second]
    assert first.process is not None
    assert first.process == second.process
    assert (first.tls, waiting.unattributed) == (None, 0)
    # Whatever else becomes known of the process.
    assert waiting.put(seen(7, S, libraries=[], uid=1)) == []
    assert waiting.offer(third, 3 * S) == [third]


def test_bound() -> None:
    waiting = Waiting(ProcessTable(), limit=2)
    held = [transaction(7, S) for _ in range(3)]
    assert [waiting.offer(t, S) for t in held] == [[], [], [held[0]]]
    assert held[0].process == Process(7)
    assert (len(waiting), waiting.overflowed, waiting.unattributed) == (2, 1, 1)
    assert waiting.put(seen(7, S)) == held[1:]
    assert waiting._by_pid == {}


STEPS = st.lists(st.tuples(st.sampled_from(["offer", "seen", "expire"]), st.integers(1, 4), st.integers(0, S)))


@settings(deadline=None)  # the machine may be busy
@given(STEPS)
def test_each_leaves_exactly_once(steps: list[tuple[str, int, int]]) -> None:
    waiting = Waiting(ProcessTable(), wait_ns=S, limit=5)
    now = 10 * S
    offered, left = [], []
    for step, pid, elapsed in steps:
        now += elapsed
        if step == "offer":
            t = transaction(pid, now)
            offered.append(t.id)
            left += waiting.offer(t, now)
        elif step == "seen":
            left += waiting.put(seen(pid, now))
        else:
            left += waiting.expired(now)
        assert len(waiting) <= 5
    left += waiting.drain()
    assert sorted(t.id for t in left) == sorted(offered)
    assert all(t.process is not None for t in left)
    assert waiting._by_pid == {}
    assert sum(t.process == Process(t.pid) for t in left) == waiting.unattributed
