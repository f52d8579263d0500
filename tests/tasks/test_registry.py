"""Every task goes by one name: in the registry, in recipes and in model folders."""

import pytest

from heedful.tasks.face import Task
from heedful.tasks.registry import TASKS, config_of, settings_of, task_of


@pytest.mark.parametrize("name", TASKS)
def test_a_task_goes_by_its_name(name):
    assert settings_of(name).model_fields["task"].default == name
    assert config_of(name).model_fields["task"].default == name
    assert issubclass(task_of(name), Task)
