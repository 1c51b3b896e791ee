"""What holds of every network that `fitkit train` can train."""

import json

import pytest

from fitkit.errors import FitkitError
from fitkit.recipes.train.task import TrainingConfig
from fitkit.recipes.train.tasks import TASKS, find_task


@pytest.mark.parametrize("name", TASKS)
def test_a_task_has_both_configurations_and_a_header_for_its_weights(name):
    task = find_task(name)
    assert task.name == name and {"paper", "small"} <= set(task.configs) and task.summary and task.paper
    for config in task.configs.values():
        assert isinstance(config, TrainingConfig) and config.__dataclass_params__.frozen
        assert json.loads(json.dumps(task.described(config)))


def test_an_unknown_network_is_refused():
    with pytest.raises(FitkitError, match="did you mean 'coarsenet'"):
        find_task("corsenet")
