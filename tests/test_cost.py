"""What a density costs, counted in operations and not in seconds: passes of its networks a row and a step."""

import sys
from pathlib import Path

import pytest

import ptilde

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.cost.programs import Workload  # noqa: E402


@pytest.fixture(scope="module")
def workload():
    """The networks that a fit to health spending would have, not fitted."""
    return Workload.of(ptilde.datasets.load_randhie(ptilde.datasets.spending).slice(0, 2000))


def test_a_row_is_scored_by_one_pass_and_drawn_by_less_than_a_hundred(workload):
    found = workload.evaluations(1, 1)
    assert found["score, amounts"].passes == pytest.approx(1, abs=1e-6)
    assert 50 < found["draw, amounts"].evaluations <= 100
    assert found["score, states"].passes == found["draw, states"].passes == 5  # one for each column


@pytest.mark.parametrize("name", ["scores", "map", "states"])
def test_a_step_costs_few_passes_of_its_batch(workload, name):
    assert 2 < workload.descents()[name].steps(1).passes <= 6
