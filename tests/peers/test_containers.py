"""curl and nginx in containers agree with each other, and are set up as containers of one image are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.peers.containers import ContainerCurl, ContainerNginx
from tests.peers.scenario import Scenario
from tests.peers.scenarios import BY_NAME, CONTAINER_SCENARIOS
from tests.truth import disagreements

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("scenario", CONTAINER_SCENARIOS, ids=lambda scenario: scenario.name)
def test_both_peers_log_the_same_calls(scenario: Scenario, tmp_path: Path) -> None:
    truth = scenario.run(tmp_path / scenario.name)
    assert disagreements(truth.calls) == []
    assert len(truth.calls) == 2 * scenario.count


def test_one_libssl_lies_behind_two_devices_in_two_cgroups(tmp_path: Path) -> None:
    with BY_NAME["containers"].start(tmp_path / "containers") as run:
        assert isinstance(run.server, ContainerNginx)
        assert isinstance(run.client, ContainerCurl)
        libraries = []
        for pid, container in ((run.server.pids[0], run.server.container), (run.client.pids[0], run.client.container)):
            assert len(container.id) == 64
            assert container.id in Path(f"/proc/{pid}/cgroup").read_text()
            mappings = Path(f"/proc/{pid}/maps").read_text().splitlines()
            library = next(line.split()[-1] for line in mappings if "libssl" in line)
            libraries.append(Path(f"/proc/{pid}/root{library}").stat())
        assert libraries[0].st_ino == libraries[1].st_ino
        assert libraries[0].st_dev != libraries[1].st_dev
        assert {call.pid for call in run.drive().calls} == set(run.pids)
