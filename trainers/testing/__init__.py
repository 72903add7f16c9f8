"""Conformance tests that every method and task must pass, a third party's too.

A package subclasses the suites in its own tests:

    class TestMyMethod(MethodSuite):
        method = "my-method"
        capacity = {"rank": 2}

    class TestMyMethodOnAnEncoder(EncoderMethodSuite):
        method = "my-method"
        capacity = {"rank": 2}

    class TestMyTask(TaskSuite):
        task = "my-task"

and compares a method with its formula by `assert_trains_like`.
"""

from trainers.testing.cases import MethodCase
from trainers.testing.methods import EncoderMethodSuite, MethodSuite
from trainers.testing.oracle import assert_trains_like, dense_reference
from trainers.testing.tasks import TaskSuite

__all__ = ["EncoderMethodSuite", "MethodCase", "MethodSuite", "TaskSuite", "assert_trains_like", "dense_reference"]
