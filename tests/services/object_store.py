"""An S3 endpoint in a process of its own: moto's server behind a switch that makes it full, on loopback unless asked otherwise.

Run as a program it is that process: `python object_store.py HOST PORT FOLDER`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any, Self

from tests.services.ports import LOOPBACK, free_port

START_SECONDS = 120
REGION = "us-east-1"
FULL = "full"
"""While a file of this name lies in the server's folder, nothing can be written."""
REQUESTS = "requests"
"""The file with one line per answered request: method and path."""
REFUSAL = b"<Error><Code>QuotaExceeded</Code><Message>The quota of the bucket is used up.</Message></Error>"


def missing() -> str | None:
    """Return what keeps the server from running here, or None."""
    found = all(find_spec(name) for name in ("moto", "werkzeug", "flask", "flask_cors"))
    return None if found else "moto's server is not installed (pip install 'moto[s3,server]')"


class ObjectStore:
    """An empty S3 server with one bucket, from the start of the `with` block to its end. What it holds lives in its memory.

    Args:
        host: the address to listen on.
        bucket: the bucket to make.
    """

    def __init__(self, host: str = LOOPBACK, bucket: str = "sweeps") -> None:
        self.host, self.port, self.bucket = host, free_port(), bucket
        self._folder = Path(tempfile.mkdtemp(prefix="fairsweep-object-store-"))
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.send_signal(signal.SIGKILL)
            self._server.wait(timeout=30)
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def environment(self) -> dict[str, str]:
        """What a client's environment must hold: credentials are nowhere else."""
        return {
            "AWS_ACCESS_KEY_ID": "planted-key-of-the-object-store",
            "AWS_SECRET_ACCESS_KEY": "planted-secret-of-the-object-store",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL_S3": f"http://{self.host}:{self.port}",
        }

    def uri(self, path: str = "") -> str:
        """Return the URI of a folder in the bucket, for pyarrow's file systems."""
        return f"s3://{self.bucket}/{path}?scheme=http&endpoint_override={self.host}:{self.port}&region={REGION}"

    def file_system(self) -> Any:
        """Return a file system of the server with credentials of its own; paths begin with the bucket."""
        from pyarrow import fs

        environment = self.environment
        return fs.S3FileSystem(
            access_key=environment["AWS_ACCESS_KEY_ID"],
            secret_key=environment["AWS_SECRET_ACCESS_KEY"],
            endpoint_override=f"{self.host}:{self.port}",
            scheme="http",
            region=REGION,
            allow_bucket_creation=True,
        )

    def fill(self) -> None:
        """Refuse every write from now on, as a bucket does whose quota is used up."""
        (self._folder / FULL).touch()

    def free(self) -> None:
        """Take writes again."""
        (self._folder / FULL).unlink(missing_ok=True)

    def requests(self) -> list[str]:
        """Return what was asked of the server so far: method, path and query of each request."""
        return (self._folder / REQUESTS).read_text().splitlines()

    def _start(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.services.object_store", self.host, str(self.port), str(self._folder)],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=(self._folder / "log").open("wb"),
            start_new_session=True,
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"moto's server did not start: {(self._folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        """Make the bucket, if the server is there; its first answer takes long."""
        if not (self._folder / REQUESTS).exists():
            return False
        with contextlib.suppress(OSError):
            self.file_system().create_dir(self.bucket)
            return True
        return False


class Switch:
    """Stands before the server's application: notes every request, and refuses writes while the store is full."""

    def __init__(self, application: Callable[..., Iterable[bytes]], folder: Path) -> None:
        self._application, self._folder = application, folder
        self._requests = (folder / REQUESTS).open("a", buffering=1)

    def __call__(self, environment: Mapping[str, Any], respond: Callable[..., Any]) -> Iterable[bytes]:
        query = environment.get("QUERY_STRING", "")
        self._requests.write(f"{environment['REQUEST_METHOD']} {environment['PATH_INFO']}{'?' + query if query else ''}\n")
        writes = environment["REQUEST_METHOD"] == "PUT" or (environment["REQUEST_METHOD"] == "POST" and "delete" not in query)
        if writes and (self._folder / FULL).exists():
            # Unread, the body would be taken for the next request of the connection.
            environment["wsgi.input"].read(int(environment.get("CONTENT_LENGTH") or 0))
            respond("507 Insufficient Storage", [("Content-Type", "application/xml"), ("Content-Length", str(len(REFUSAL)))])
            return [REFUSAL]
        return self._application(environment, respond)


def serve(host: str, port: int, folder: Path) -> None:
    """Serve until the process is ended."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    server = make_server(host, port, DomainDispatcherApplication(create_backend_app), threaded=True)
    server.app = Switch(server.app, folder)
    Thread(target=_end_with_parent, daemon=True).start()
    server.serve_forever()


def _end_with_parent() -> None:
    """Wait for the end of the pipe that the process which started this one holds, even if it was killed."""
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
