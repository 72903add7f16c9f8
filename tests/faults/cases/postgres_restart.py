"""A PostgreSQL that is restarted under MLflow while many write to it loses nothing and doubles nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tests.faults.fault import Fault
from tests.faults.lab import Lab
from tests.faults.tracked import tracked
from tests.services.postgres import Postgres, missing

RESTARTS, WRITERS = 4, 3


class PostgresRestart(Fault):
    number = 6
    done = f"PostgreSQL behind the MLflow server restarted {RESTARTS} times, in order and as a crash, while others write to it"

    def unmet(self) -> str | None:
        return missing()

    def run(self, lab: Lab) -> None:
        with Postgres() as postgres, tracked(lab, postgres.database("mlflow")) as (world, server):
            driver = world.start()
            world.wait(lambda: world.in_charge(driver), driver, "a driver in charge")
            with _load(server.uri):
                for number in range(RESTARTS):
                    before = len(world.done())
                    # Spread over the sweep: each a trial or two after the one before.
                    world.wait(lambda least=before + number % 2: len(world.done()) > least, driver, "the next Outcome")  # type: ignore[misc]
                    postgres.restart("immediate" if number % 2 else "fast", down_seconds=1)
                    world.note(f"restarted with {len(world.done())} Outcomes there")
                world.claim(world.ended(driver) == 0, "the driver did not go on by itself")
            lab.check(world, self)


@contextmanager
def _load(uri: str) -> Iterator[None]:
    """Let others record runs at the same server, for the length of a `with` block."""
    over = threading.Event()
    writers = [threading.Thread(target=_write, args=(uri, over), name=f"writer-{number}") for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    try:
        yield
    finally:
        over.set()
        for writer in writers:
            writer.join()


def _write(uri: str, over: threading.Event) -> None:
    client = MlflowClient(tracking_uri=uri)
    while not over.is_set():
        try:
            run = client.create_run("0")
            for step in range(20):
                client.log_metric(run.info.run_id, "value", float(step), step=step)
        except MlflowException:
            # What happens to these is the database's affair.
            over.wait(0.2)


FAULT = PostgresRestart
