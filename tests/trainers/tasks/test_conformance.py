"""Runs the conformance suite over every registered task: a new one is tested unasked."""

import pytest

from trainers import registry
from trainers.api import Task
from trainers.testing import TaskSuite


class TestEveryTask(TaskSuite):
    @pytest.fixture(params=registry.task_names())
    def subject(self, request: pytest.FixtureRequest) -> Task:
        return registry.task(request.param)
