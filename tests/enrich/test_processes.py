from __future__ import annotations

import pwd

import msgspec
import pytest

from apisensor.enrich.model import ProcessEvent, ProcessGone, ProcessSeen, TlsLibrary
from apisensor.enrich.processes import FIRST_SEEN_GRACE_NS, GONE_KEPT_NS, LIVES, ProcessTable
from apisensor.transactions.model import Process, Tls
from tests.enrich.records import seen, transaction

S = 1_000_000_000


def who(table: ProcessTable, pid: int, start_ns: int) -> str | None:
    """Executable of the process that a transaction gets."""
    t = transaction(pid, start_ns)
    if not table.attach(t):
        assert t.process is None
        return None
    assert t.process is not None
    return t.process.executable


def test_everything_is_filled() -> None:
    table = ProcessTable()
    pod = "2b7b6f3c_0f5e_4f6b_9d8e_0123456789ab"
    table.put(
        seen(
            7,
            S,
            executable="/usr/bin/python3.11",
            arguments=[b"python3", b"app.py", b"--password=hunter2"],
            cgroup=f"0::/kubepods.slice/kubepods-pod{pod}.slice/cri-containerd-{'a' * 64}.scope\n",
            libraries=[TlsLibrary("/usr/lib/libssl.so.3", "openssl", "3.0.15")],
        )
    )
    t = transaction(7, 2 * S)
    assert table.attach(t)
    assert t.process == Process(
        pid=7,
        executable="/usr/bin/python3.11",
        command_line="python3 app.py --password=[redacted]",
        user=pwd.getpwuid(0).pw_name,
        container="a" * 64,
        pod=pod.replace("_", "-"),
        service="app",
        runtime="containerd",
    )
    assert t.tls == Tls("openssl", "3.0.15")


def test_little_is_known() -> None:
    table = ProcessTable()
    table.put(ProcessSeen(7, S, uid=4_000_000_000))
    t = transaction(7, 2 * S, tls=False)
    assert table.attach(t)
    assert t.process == Process(7, user="4000000000")
    assert t.tls is None


def test_secrets_are_not_kept() -> None:
    table = ProcessTable()
    secret = "AKIAIOSFODNN7EXAMPLE"
    table.put(
        seen(7, S, executable=f"/x/{secret}", arguments=[b"python3", secret.encode()], otel_service_name=f"a {secret}")
    )
    t = transaction(7, 2 * S)
    assert table.attach(t)
    assert secret.encode() not in msgspec.msgpack.encode(t)
    lives = table._lives[7]
    assert secret not in repr([(life.process, life.tls, life.time_ns) for life in lives])


def test_packets_have_no_process() -> None:
    t = transaction(0, S)
    assert ProcessTable().attach(t)
    assert t.process is None


def test_plaintext_has_no_library() -> None:
    table = ProcessTable()
    table.put(seen(7, S, libraries=[TlsLibrary("/a", "openssl", "3.0.15")]))
    t = transaction(7, 2 * S, tls=False)
    assert table.attach(t)
    assert t.tls is None


@pytest.mark.parametrize(
    ("libraries", "tls"),
    [
        ([("openssl", "3.0.15"), ("openssl", "3.0.15")], Tls("openssl", "3.0.15")),
        ([("openssl", "3.0.15"), ("openssl", "1.1.1w")], Tls("openssl", None)),
        ([("openssl", None)], Tls("openssl", None)),
        ([("openssl", "3.0.15"), ("node", "3.0.15")], None),
    ],
)
def test_library_as_far_as_it_is_certain(libraries: list[tuple[str, str | None]], tls: Tls | None) -> None:
    table = ProcessTable()
    table.put(seen(7, S, libraries=[TlsLibrary(f"/{i}", *library) for i, library in enumerate(libraries)]))
    t = transaction(7, 2 * S)
    assert table.attach(t)
    assert t.tls == tls


def test_lives_of_a_pid() -> None:
    table = ProcessTable()
    table.put(seen(7, 10 * S))
    table.put(seen(7, 20 * S))  # execve
    table.put(ProcessGone(7, 30 * S))
    table.put(seen(7, 40 * S))  # the pid again
    assert who(table, 7, 10 * S) == "/bin/p7-10000000000"
    assert who(table, 7, 20 * S - 1) == "/bin/p7-10000000000"
    assert who(table, 7, 20 * S) == "/bin/p7-20000000000"
    assert who(table, 7, 30 * S) == "/bin/p7-20000000000"
    assert who(table, 7, 30 * S + 1) is None  # it had ended, and the next one began 10 s later
    assert who(table, 7, 40 * S - FIRST_SEEN_GRACE_NS) == "/bin/p7-40000000000"
    assert who(table, 7, 40 * S - FIRST_SEEN_GRACE_NS - 1) is None
    assert who(table, 7, 99 * S) == "/bin/p7-40000000000"
    assert who(table, 8, 20 * S) is None  # a child, say: nothing is inherited


def test_lives_in_any_order() -> None:
    table = ProcessTable()
    table.put(seen(7, 20 * S))
    table.put(seen(7, 10 * S))
    assert who(table, 7, 15 * S) == "/bin/p7-10000000000"
    assert who(table, 7, 25 * S) == "/bin/p7-20000000000"


def test_the_same_life_again_with_more() -> None:
    table = ProcessTable()
    table.put(seen(7, S))
    table.put(seen(7, S, executable="/bin/better"))
    assert who(table, 7, 2 * S) == "/bin/better"
    table.put(ProcessGone(7, 3 * S))
    table.put(seen(7, S, executable="/bin/best"))
    assert who(table, 7, 2 * S) == "/bin/best"
    assert who(table, 7, 4 * S) is None


def test_first_seen_within_grace_only_where_nothing_older_fits() -> None:
    table = ProcessTable()
    table.put(seen(7, 10 * S))
    table.put(seen(7, 10 * S + 5))
    assert who(table, 7, 10 * S - 5) == "/bin/p7-10000000000"


def test_gone_processes_are_remembered_for_a_while() -> None:
    table = ProcessTable()
    table.put(seen(7, S))
    table.put(ProcessGone(7, 2 * S))
    table.put(seen(8, 2 * S + GONE_KEPT_NS))
    assert who(table, 7, S) is not None
    table.put(seen(9, 2 * S + GONE_KEPT_NS + 1))
    assert who(table, 7, S) is None
    assert len(table) == 2
    assert table.evicted == 0


def test_only_the_life_that_ended_is_forgotten() -> None:
    table = ProcessTable()
    table.put(seen(7, S))
    table.put(ProcessGone(7, 2 * S))
    table.put(seen(7, 3 * S))
    table.put(seen(8, 3 * S + GONE_KEPT_NS))
    assert who(table, 7, S) is None
    assert who(table, 7, 3 * S) is not None


def test_bounds() -> None:
    table = ProcessTable(processes=3)
    for pid in (1, 2, 3):
        table.put(seen(pid, S))
    assert who(table, 1, S) is not None  # used: 2 is the oldest now
    table.put(seen(4, S))
    assert (len(table), table.evicted) == (3, 1)
    assert who(table, 2, S) is None
    assert who(table, 1, S) is not None
    for time_ns in range(LIVES + 3):
        table.put(seen(1, 10 * S + time_ns))
    assert len(table._lives[1]) == LIVES
    assert who(table, 1, 20 * S) == f"/bin/p1-{10 * S + LIVES + 2}"


def test_ends_are_bounded() -> None:
    table = ProcessTable(processes=2)
    for number in range(100):
        table.put(seen(number + 1, number))
        table.put(ProcessGone(number + 1, number))
        table.put(ProcessGone(number + 1, number))
    assert len(table._gone) <= 2 * LIVES
    assert len(table) == 2
    assert table.evicted == 98


def test_end_of_somebody_unknown() -> None:
    table = ProcessTable()
    table.put(ProcessGone(7, S))
    assert len(table) == 0


def test_records_travel() -> None:
    events: list[ProcessEvent] = [
        seen(7, S, arguments=[b"a\xff"], libraries=[TlsLibrary("/a", "openssl")]),
        ProcessGone(7, 2 * S),
    ]
    decoder = msgspec.msgpack.Decoder(ProcessEvent)
    assert [decoder.decode(msgspec.msgpack.encode(event)) for event in events] == events
