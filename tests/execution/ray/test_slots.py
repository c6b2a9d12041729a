"""Where a job may run, and how many fit: node by node, without Ray."""

from __future__ import annotations

from typing import Any

import pytest

from clsweep.errors import RunnerError
from clsweep.execution.ray.slots import check_room, slots_of
from clsweep.study.sections import Resources


def node(cpus: float, gpus: float = 0, memory: float = 0, name: str = "n") -> dict[str, Any]:
    resources = {"CPU": cpus, "GPU": gpus, "memory": memory}
    there = {key: value for key, value in resources.items() if value}
    return {"NodeID": name, "Alive": True, "Resources": there}


@pytest.mark.parametrize(
    ("resources", "n_gpus", "request_"),
    [
        ({}, 0, {"cpu": {"cpu": 1.0}}),
        ({}, 2, {"gpu": {"cpu": 1.0, "gpu": 0.25}, "whole": {"cpu": 1.0, "gpu": 1.0}}),
        ({"oom_retry": False}, 2, {"gpu": {"cpu": 1.0, "gpu": 0.25}}),
        (
            {"gpu_fraction": 0.1, "cpus": 0.5},
            1,
            {"gpu": {"cpu": 0.5, "gpu": 0.1}, "whole": {"cpu": 0.5, "gpu": 1.0}},
        ),
        ({"gpu_fraction": 2.0}, 2, {"gpu": {"cpu": 1.0, "gpu": 2.0}}),
        ({"gpu_fraction": 1.0}, 2, {"gpu": {"cpu": 1.0, "gpu": 1.0}}),
        ({"gpu_fraction": 0.0}, 2, {"cpu": {"cpu": 1.0}}),
        ({"device": "cpu"}, 2, {"cpu": {"cpu": 1.0}}),
        ({"memory_mb": 3}, 0, {"cpu": {"cpu": 1.0, "memory": 3 * 2**20}}),
    ],
)
def test_what_a_trial_asks_for(
    resources: dict[str, Any], n_gpus: int, request_: dict[str, dict[str, float]]
) -> None:
    found = slots_of(Resources(**resources), [node(8, n_gpus, 2**30)])
    assert {name: place.request for name, place in found.items()} == request_
    assert all(place.node_ids == () for place in found.values())


@pytest.mark.parametrize(
    ("nodes", "resources", "n_slots"),
    [
        ([node(8, 1)], {}, {"gpu": 4, "whole": 1}),
        ([node(8, 1)], {"gpu_fraction": 0.1}, {"gpu": 8, "whole": 1}),
        ([node(16, 1)], {"gpu_fraction": 0.1}, {"gpu": 10, "whole": 1}),
        # A share of 0.4 leaves 0.2 of each GPU idle: no trial straddles two.
        ([node(8, 2)], {"gpu_fraction": 0.4}, {"gpu": 4, "whole": 2}),
        ([node(8, 4)], {"gpu_fraction": 2.0}, {"gpu": 2}),
        # Cores beside a GPU are left to it; those of other nodes are used, of dead ones not.
        ([node(8, 1), node(64)], {"gpu_fraction": 0.5}, {"gpu": 2, "whole": 1, "cpu": 64}),
        ([node(8, 1), {**node(8), "Alive": False}], {}, {"gpu": 4, "whole": 1}),
        ([node(8, 1), node(64)], {"device": "cuda"}, {"gpu": 4, "whole": 1}),
        ([node(8, 1), node(64)], {"device": "cpu"}, {"cpu": 72}),
        ([node(8, 1), node(64)], {"gpu_fraction": 0.0}, {"cpu": 72}),
        # A head node without cores adds nothing.
        ([node(0), node(3), node(2)], {}, {"cpu": 5}),
        ([node(4, 0, 10 * 2**20)], {"memory_mb": 4}, {"cpu": 2}),
        ([node(0.5)], {}, {}),
    ],
)
def test_how_many_fit(
    nodes: list[dict[str, Any]], resources: dict[str, Any], n_slots: dict[str, int]
) -> None:
    found = slots_of(Resources(**resources), nodes)
    assert {name: place.n_slots for name, place in found.items()} == n_slots


def test_cores_are_named_node_by_node_only_beside_gpus() -> None:
    mixed = [node(8, 1, name="a"), node(2, name="c"), node(2, name="b")]
    assert slots_of(Resources(), mixed)["cpu"].node_ids == ("b", "c")
    assert slots_of(Resources(device="cpu"), mixed)["cpu"].node_ids == ()
    assert slots_of(Resources(), mixed[1:])["cpu"].node_ids == ()


def test_a_cluster_without_the_gpu_that_is_asked_for() -> None:
    with pytest.raises(RunnerError, match=r"the cluster has no GPU(?s:.)*\[resources\] device"):
        check_room(Resources(device="cuda"), [node(8)])


def test_no_node_is_large_enough() -> None:
    nodes = [node(8, 1), node(8, 1)]
    refused = pytest.raises(RunnerError, match=r"2 gpu(?s:.)*largest of 2 have 8 cpu, 1 gpu")
    with refused:
        check_room(Resources(gpu_fraction=2.0, device="cuda"), nodes)
    # Where the study leaves the choice, nodes without a GPU are large enough.
    check_room(Resources(gpu_fraction=2.0), [*nodes, node(1)])
    with pytest.raises(RunnerError, match=r"asks for: 1 cpu, 4.1943e\+06 memory"):
        check_room(Resources(memory_mb=4), [node(8, 0, 10)])
