"""A PostgreSQL cluster to throw away, from Debian's packages: loopback only, with a password made up for it."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Literal, Self

from tests.services.ports import LOOPBACK, free_port

USER = "fairsweep"
STOP_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
START_SECONDS = 60


@cache
def binaries() -> Path | None:
    """Return the folder of the newest installed server's programs; Debian keeps them off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("postgres")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def missing() -> str | None:
    """Return what keeps PostgreSQL from running here, or None."""
    if binaries() is None:
        return "PostgreSQL is not installed (Debian and Ubuntu: apt install postgresql)"
    if os.geteuid() == 0 and (_owner() is None or shutil.which("setpriv") is None):
        return "PostgreSQL refuses to run as root, and there is no user `postgres` or no setpriv to run it as another"
    return None


class Postgres:
    """One cluster in a temporary folder, from the start of the `with` block to its end.

    `restart` and `stop` stand for what befalls a real one; databases survive both.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self._password = secrets.token_urlsafe(12)
        self._server: subprocess.Popen[bytes] | None = None
        # Not below a test's own folder, which the user `postgres` may not enter.
        self._folder = Path(tempfile.mkdtemp(prefix="fairsweep-postgres-"))

    def __enter__(self) -> Self:
        try:
            self._make_cluster()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop("immediate")
        shutil.rmtree(self._folder, ignore_errors=True)

    def database(self, name: str) -> str:
        """Make a database and return its SQLAlchemy URI, which holds the password."""
        self._run("psql", "--dbname=postgres", f"--command=CREATE DATABASE {name}", password=True)
        return self.uri(name)

    def uri(self, name: str) -> str:
        """Return the URI of a database that was made before."""
        return f"postgresql://{USER}:{self._password}@{LOOPBACK}:{self.port}/{name}"

    def dump(self, name: str) -> str:
        """Return all that a database holds, as SQL."""
        return self._run("pg_dump", f"--dbname={name}", password=True)

    def start(self) -> None:
        """Start the server and wait until it takes connections, which includes the recovery from a crash."""
        options = [f"-p{self.port}", f"-clisten_addresses={LOOPBACK}", f"-cunix_socket_directories={self._folder}", "-cmax_connections=100"]
        with self._log().open("ab") as log:
            self._server = subprocess.Popen(
                [*_as_owner(), self._program("postgres"), "-D", self._data(), *options],
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )
        self._wait()

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """End the server: `fast` breaks its connections off, `immediate` is a crash."""
        if self._server is None:
            return
        if self._server.poll() is None:
            self._server.send_signal(STOP_SIGNALS[mode])
        self._server.wait(timeout=60)
        self._server = None

    def restart(self, mode: Literal["fast", "immediate"] = "fast", down_seconds: float = 0.0) -> None:
        """Stop the server, keep it down for a while, start it on the same port."""
        self.stop(mode)
        time.sleep(down_seconds)
        self.start()

    def log_text(self) -> str:
        """Return what the server wrote."""
        return self._log().read_text(errors="replace")

    def _make_cluster(self) -> None:
        if reason := missing():
            raise RuntimeError(reason)
        secret = self._folder / "password"
        secret.write_text(self._password)
        if owner := _owner() if os.geteuid() == 0 else None:
            for path in (self._folder, secret):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        authentication = ["--auth=scram-sha-256", f"--username={USER}", f"--pwfile={secret}"]
        self._run("initdb", f"--pgdata={self._data()}", *authentication, "--encoding=UTF8", "--locale=C")
        secret.unlink()

    def _wait(self) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self._server is not None and self._server.poll() is None:
            ready = [self._program("pg_isready"), "-q", f"--host={LOOPBACK}", f"--port={self.port}"]
            if subprocess.run(ready, check=False).returncode == 0:
                return
            time.sleep(0.05)
        raise RuntimeError(f"PostgreSQL did not start:\n{self.log_text()[-2000:]}")

    def _run(self, program: str, *arguments: str, password: bool = False) -> str:
        connection = [f"--host={LOOPBACK}", f"--port={self.port}", f"--username={USER}"] if password else []
        environment = {**os.environ, "PGPASSWORD": self._password} if password else None
        command = [*([] if password else _as_owner()), self._program(program), *connection, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd="/", check=False)
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr.strip()}")
        return done.stdout

    def _program(self, name: str) -> str:
        folder = binaries()
        assert folder is not None
        return str(folder / name)

    def _data(self) -> str:
        return str(self._folder / "data")

    def _log(self) -> Path:
        return self._folder / "server.log"


def _owner() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return None


def _as_owner() -> list[str]:
    """Return the start of a command that runs the rest as `postgres` when this process is root, which PostgreSQL refuses."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"]
