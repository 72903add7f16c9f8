from __future__ import annotations

import pytest

from cluster.resources import ResourcesError, TrialResources

SMALL = {"CPU": 4.0, "memory": 16e9}
LARGE = {"CPU": 32.0, "GPU": 4.0, "memory": 256e9}


@pytest.mark.parametrize(
    ("needs", "nodes", "fits"),
    [
        (TrialResources(cpus=1), [SMALL], 4),
        (TrialResources(cpus=3), [SMALL, SMALL], 2),
        (TrialResources(cpus=1, gpus=1), [SMALL, LARGE, LARGE], 8),
        (TrialResources(cpus=1, gpus=0.1), [LARGE], 32),
        (TrialResources(cpus=1, gpus=0.1), [{"CPU": 32, "GPU": 1}], 10),
        (TrialResources(cpus=3, workers=2), [SMALL, SMALL, SMALL], 1),
        (TrialResources(cpus=2, workers=2), [SMALL, SMALL, SMALL], 3),
        (TrialResources(cpus=1, gpus=1, memory_bytes=100 * 10**9, workers=2), [LARGE, LARGE], 2),
    ],
)
def test_what_does_not_fit_on_one_node_is_not_made_up_of_several(needs: TrialResources, nodes: list[dict[str, float]], fits: int) -> None:
    assert needs.side_by_side(nodes) == fits


@pytest.mark.parametrize(
    ("needs", "nodes", "message"),
    [
        (TrialResources(cpus=8), [SMALL], "needs 8 CPU, and 4 are there. Fix: lower resources.cpus"),
        (TrialResources(cpus=8), [SMALL, SMALL, SMALL], "needs 8 CPU, and 4 are on the node that comes closest, of 3"),
        (TrialResources(cpus=1, gpus=1), [SMALL], "needs 1 GPU, and 0 are there"),
        (TrialResources(cpus=4, workers=3), [SMALL, SMALL], "3 workers with 4 CPU each, and 2 node(s) have room for 2"),
    ],
)
def test_what_does_not_fit_is_named_with_its_key(needs: TrialResources, nodes: list[dict[str, float]], message: str) -> None:
    with pytest.raises(ResourcesError) as caught:
        needs.side_by_side(nodes)
    assert message in str(caught.value)
