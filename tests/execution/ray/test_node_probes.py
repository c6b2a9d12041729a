"""What every node is asked before the first trial, on a real cluster of two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clsweep.errors import StoreError
from clsweep.execution import outcomes, shared_storage
from clsweep.execution.ray import node_probes
from clsweep.study.input_fingerprints import inputs_of
from clsweep.study.study import load_study
from tests.study.test_input_fingerprints import PETS, make_pets
from tests.support.command_line import tiny_study

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[dict[str, Any]]]:
    """Two nodes of one Ray, which this process is connected to."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    try:
        cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        found: list[dict[str, Any]] = ray.nodes()
        assert len(found) == 2
        yield found
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_nodes_with_other_data_are_named_before_the_first_trial(
    nodes: list[dict[str, Any]], tmp_path: Path
) -> None:
    make_pets(tmp_path / "a", 20)
    make_pets(tmp_path / "b", 60)
    path = tmp_path / "pets.toml"
    path.write_text(PETS)
    study = load_study(path, tmp_path / "a")
    planned = inputs_of(study, tmp_path / "a")
    context = outcomes.Context(
        "r3", study, tmp_path, tmp_path, tmp_path / "a", "cpu", inputs=planned
    )
    node_probes.probe_inputs(context, nodes)
    other = replace(context, data_root=tmp_path / "b")
    with pytest.raises(StoreError, match="not every node finds") as error:
        node_probes.probe_inputs(other, nodes)
    for node in nodes:
        assert f"{node['NodeManagerAddress']} (" in str(error.value)
    lines = [line for line in str(error.value).splitlines() if "folder:pets" in line]
    assert len(lines) == 2


def test_the_blind_node_of_a_cluster_is_named(
    nodes: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, stages = tmp_path / "out", tmp_path / "elsewhere" / "stages"
    blind = nodes[1]["NodeID"]
    study = load_study(tiny_study(tmp_path))
    context = outcomes.Context("run", study, out, stages, None, "cpu", token="abc")
    real, other = shared_storage.leave_node_file, tmp_path / "other"

    def visit(token: str, out: Path, stages: Path, name: str) -> str:
        return real(token, other if name == blind else out, stages, name)

    with shared_storage.driver_file("abc", out, stages):
        node_probes.probe_nodes(context, nodes)
        for folder in (out, stages):
            assert [path.name for path in folder.iterdir()] == [".run-abc"]
        monkeypatch.setattr(shared_storage, "leave_node_file", visit)
        with pytest.raises(StoreError, match="do not share the storage") as error:
            node_probes.probe_nodes(context, nodes)
    complaints = [line for line in str(error.value).splitlines() if "does not find" in line]
    assert len(complaints) == 1
    assert complaints[0].strip().startswith(nodes[1]["NodeManagerAddress"])
