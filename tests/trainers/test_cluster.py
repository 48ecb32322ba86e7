"""Training on a Ray cluster by its address: tens of seconds, so marked slow."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import ray
from ray._common.utils import get_default_ray_temp_dir
from ray.cluster_utils import Cluster

from configs.errors import TrainingError
from configs.mappo import MappoConfig
from tests.trainers.test_train import MAKE, tiny
from trainers.mappo.checkpoint import latest_checkpoint
from trainers.train import train

pytestmark = pytest.mark.slow


def cluster_of(cpus: int) -> Cluster:
    """One node on this machine."""
    told = {"num_cpus": cpus, "object_store_memory": 100 << 20, "include_dashboard": False}
    return Cluster(initialize_head=True, head_node_args=told)


def run(config: MappoConfig, output: Path) -> None:
    assert not ray.is_initialized()
    train(config, MAKE, {}, output)


def test_a_run_joins_a_cluster_and_leaves_it_running(tmp_path: Path):
    cluster = cluster_of(2)
    try:
        run(tiny(2, runners=1, ray_address=cluster.address), tmp_path / "a")
        assert latest_checkpoint(tmp_path / "a") is not None
        assert not ray.is_initialized()  # the driver left
        assert len(cluster.list_all_nodes()) == 1  # the cluster did not go with it
        run(tiny(2, ray_address=cluster.address), tmp_path / "b")
    finally:
        cluster.shutdown()


def test_an_address_where_nothing_answers_is_one_error(tmp_path: Path):
    with pytest.raises(TrainingError, match=r"Ray at '127\.0\.0\.1:1' cannot be reached"):
        run(tiny(1, ray_address="127.0.0.1:1"), tmp_path)
    assert latest_checkpoint(tmp_path) is None


def test_a_run_of_this_machine_alone_joins_no_cluster_that_runs_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # Sockets lie in Ray's folder, and their paths must be short.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        cluster = cluster_of(1)
        try:
            # As `ray start --head` leaves it.
            record = Path(get_default_ray_temp_dir()) / "ray_current_cluster"
            record.write_text(cluster.address)
            with pytest.raises(ValueError, match="existing cluster"):
                ray.init(num_cpus=1)  # what would happen without care
            run(tiny(2), tmp_path)
        finally:
            cluster.shutdown()
    assert latest_checkpoint(tmp_path) is not None
