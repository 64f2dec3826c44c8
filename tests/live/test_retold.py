from __future__ import annotations

import msgspec

from apisensor.live import retold
from apisensor.live.public import PublicFinding
from apisensor.live.retold import Retold

FOUND = PublicFinding(id="a", rule="r", severity="medium", title="t", category=None, time="")


def test_what_is_new_worse_or_ten_times_as_many_is_told() -> None:
    told = Retold()
    grown = [count for count in range(1, 1001) if told.worth(msgspec.structs.replace(FOUND, count=count))]
    assert grown == [1, 10, 100, 1000]
    assert told.worth(msgspec.structs.replace(FOUND, count=1001, severity="high"))
    assert told.worth(msgspec.structs.replace(FOUND, id="b"))


def test_it_remembers_so_many() -> None:
    told = Retold()
    for number in range(retold.MOST + 1):
        assert told.worth(msgspec.structs.replace(FOUND, id=str(number)))
    assert not told.worth(msgspec.structs.replace(FOUND, id="1"))
    assert told.worth(msgspec.structs.replace(FOUND, id="0")), "it made room"
