"""An application on three hosts over SSH: all at once or one by one, and one of them lost on the way."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from infra.ansible import run_stages
from infra.stack.cluster import Cluster
from policy.errors import Unavailable
from policy.names import RequestId
from policy.request import Outcome
from tasks.application import variables
from tests.playbooks.farm import NEW, OLD, Farm, farm
from tests.playbooks.ssh_hosts import need_namespaces
from tests.playbooks.upgrade_ground import PRODUCTION

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def hosts(
    tmp_path_factory: pytest.TempPathFactory, live_cluster: Cluster, trial_cluster: Cluster
) -> Iterator[Farm]:
    need_namespaces()
    with farm(live_cluster, trial_cluster, tmp_path_factory.mktemp("farm")) as made:
        yield made


def reached(farm: Farm, number: RequestId, condition: str) -> None:
    """Wait until the request's run is there, as the ledger tells it."""
    give_up = time.monotonic() + 300
    while True:
        with farm.ground.world.ledger.transaction() as connection:
            row = connection.execute(
                "select direction, coalesce((select name from step where step.run = run.id"
                " order by position desc limit 1), '') as step from run where request = %s",
                (number.number,),
            ).fetchone()
        if row is not None and condition in {row["direction"], row["step"]}:
            return
        assert time.monotonic() < give_up, f"{number} never came to {condition}"
        time.sleep(0.05)


@pytest.mark.parametrize("step", ["change_over", "reopen"])
def test_a_host_that_is_lost_lets_all_be_put_back(hosts: Farm, step: str) -> None:
    """It is away in the middle of a step, and back again while the others are put back."""
    assert hosts.versions() == [OLD] * 3
    before = hosts.ground.data(PRODUCTION)
    number = hosts.ground.ask(NEW)
    lost = hosts.hosts[1]

    def cut() -> None:
        reached(hosts, number, step)
        lost.cut_off()
        reached(hosts, number, "back")
        time.sleep(5)
        lost.join_again()

    cutter = threading.Thread(target=cut)
    cutter.start()
    ended = hosts.ground.carry_out(number)
    cutter.join()
    assert ended.outcome is Outcome.PUT_BACK, ended.reason
    assert "host-1" in ended.reason
    assert hosts.versions() == [OLD] * 3
    after = hosts.ground.data(PRODUCTION)
    beside = {"public.cache", "public.timestamps"}
    assert {name for name in before if before[name] != after.get(name)} <= beside
    hosts.ground.acknowledge()


def test_one_after_the_other_is_upgraded_too(hosts: Farm) -> None:
    hosts.ground.declare(serial=1)
    ended = hosts.ground.carry_out(hosts.ground.ask(NEW))
    assert ended.outcome is Outcome.DONE, ended.reason
    assert hosts.versions() == [NEW] * 3


def test_a_host_with_another_key_is_not_spoken_to(hosts: Farm) -> None:
    ground = hosts.ground
    known = ground.world.secrets.directory / "known-hosts"
    text = known.read_text()
    other = (ground.folder / "keys" / "user.pub").read_text().split()[1]
    world, estate = ground.world, ground.estate
    webapp = estate.webapp(PRODUCTION)
    told = variables(estate, world.settings, world.secrets, webapp, release=ground.release(NEW))
    try:
        known.write_text("".join(f"{line.split()[0]} ssh-ed25519 {other}\n" for line in text.splitlines()))
        with pytest.raises(Unavailable, match="host-"):
            run_stages(
                hosts=[estate.hosts[name] for name in webapp.hosts],
                variables=told,
                stages=["preflight"],
                run="r99a1",
                epoch=1,
                scratch=ground.folder / "runs",
                secrets=world.secrets,
                timeout_s=120,
                on_event=lambda _: None,
            )
    finally:
        known.write_text(text)
