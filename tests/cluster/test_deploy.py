"""The deployment files: valid by their schemas, at the pinned versions, with tokens on, closed to the world, and without a secret."""

from __future__ import annotations

import ast
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from cluster.submit import STOP_SECONDS
from orchestrator.cli import cli
from tests.cluster.kuberay import NetworkPolicy, RayCluster, RayClusterSpec, RayJob
from tests.services import postgres as postgresql
from tests.services.ports import free_port
from tests.services.required import required

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "cluster" / "deploy"
README = (ROOT / "cluster" / "README.md").read_text()
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file() and "secrets" not in path.parts)
SCRIPTS = [path for path in FILES if path.suffix == ".sh"]
RAY_FILES = [path for path in FILES if path.name in ("ray-up.yaml", "kuberay-cluster.yaml", "kuberay-job.yaml", "slurm.sh")]
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if re.fullmatch(r"[\w.-]+==\S+", line))


def name_of(path: Path) -> str:
    return str(path.relative_to(DEPLOY))


def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def ray_up() -> Any:
    return documents("ray-up.yaml")[0]


def clusters() -> list[RayClusterSpec]:
    return [RayCluster.model_validate(documents("kuberay-cluster.yaml")[0]).spec, kuberay_job().spec.rayClusterSpec]


def kuberay_job() -> RayJob:
    return RayJob.model_validate(documents("kuberay-job.yaml")[0])


def compose() -> Any:
    return documents("mlflow/compose.yaml")[0]


# ------------------------------------------------------------------------------------------------ schemas


def test_ray_up_is_valid_by_rays_own_schema() -> None:
    from ray.autoscaler._private.util import fillout_defaults, validate_config

    config = fillout_defaults(ray_up())
    validate_config(config)
    # Nothing is left to Ray's defaults for this cloud, which install a nightly build and open the dashboard.
    assert not [config[key] for key in ("setup_commands", "head_setup_commands", "worker_setup_commands") if config[key]]
    assert config["head_start_ray_commands"] == ray_up()["head_start_ray_commands"]
    with pytest.raises(Exception, match="surplus"):
        validate_config({**config, "surplus": 1})


def test_the_kuberay_files_are_valid_by_the_reference() -> None:
    cluster, policy = documents("kuberay-cluster.yaml")
    job, job_policy = documents("kuberay-job.yaml")
    RayCluster.model_validate(cluster)
    RayJob.model_validate(job)
    policies = [NetworkPolicy.model_validate(policy), NetworkPolicy.model_validate(job_policy)]
    assert policies[0].spec.podSelector["matchLabels"] == {"ray.io/cluster": cluster["metadata"]["name"]}
    peers = [peer.podSelector["matchLabels"] for rule in policies[1].spec.ingress for peer in rule.peers]
    # KubeRay's submitter is a Kubernetes Job of the RayJob's name.
    assert {"batch.kubernetes.io/job-name": job["metadata"]["name"]} in peers
    head = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]
    assert head["metadata"]["labels"] == policies[1].spec.podSelector["matchLabels"]


@pytest.mark.parametrize("number", [0, 1])
def test_every_mount_in_a_pod_has_its_volume(number: int) -> None:
    spec = clusters()[number]
    for template in (spec.headGroupSpec.template, *(group.template for group in spec.workerGroupSpecs)):
        volumes = {volume.name for volume in template.spec.volumes}
        assert {mount.name for container in template.spec.containers for mount in container.volumeMounts} == volumes


def test_the_compose_file_names_what_it_defines() -> None:
    found = compose()
    assert set(found) == {"name", "services", "secrets", "networks", "volumes"}
    for name, service in found["services"].items():
        assert set(service["secrets"]) <= set(found["secrets"]) and set(service["networks"]) <= set(found["networks"]), name
        assert "image" in service and "restart" in service and "healthcheck" in service, name
    build = found["services"]["mlflow"]["build"]
    context = (DEPLOY / "mlflow" / build["context"]).resolve()
    assert context == ROOT and (context / build["dockerfile"]).is_file()
    assert all(set(secret) == {"file"} and secret["file"].startswith("secrets/") for secret in found["secrets"].values())
    assert found["networks"]["database"] == {"internal": True} and found["services"]["postgres"]["networks"] == ["database"]


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed (Debian and Ubuntu: apt install shellcheck)")
@pytest.mark.parametrize("script", SCRIPTS, ids=name_of)
def test_shellcheck_finds_nothing(script: Path) -> None:
    done = subprocess.run(["shellcheck", "--severity=style", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert os.access(script, os.X_OK)


def test_the_commands_in_the_files_are_those_of_the_command_line() -> None:
    words = shlex.split(kuberay_job().spec.entrypoint)
    assert words[:4] == ["exec", "python", "-m", "orchestrator.cli"]
    run = cli.commands[words[4]]  # type: ignore[attr-defined]
    known = {name for parameter in run.params for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
    assert yaml.safe_load(kuberay_job().spec.runtimeEnvYAML) == {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)}}


# ------------------------------------------------------------------------------------------------ versions


def test_versions_are_the_pinned_ones() -> None:
    assert [spec.rayVersion for spec in clusters()] == [PINS["ray"]] * 2
    pods = [template for spec in clusters() for template in (spec.headGroupSpec.template, spec.workerGroupSpecs[0].template)]
    images = {pod.spec.containers[0].image for pod in pods} | {ray_up()["docker"]["image"]}
    assert images == {f"REGISTRY/fairsweep-node:ray-{PINS['ray']}"}
    assert compose()["services"]["mlflow"]["image"] == f"fairsweep-mlflow:{PINS['mlflow']}"
    for file in FILES:
        for package, version in re.findall(r"\b(ray|mlflow|torch|deepspeed)(?:-|==|:)(\d+\.\d+\.\d+)", file.read_text()):
            assert version == PINS[package], f"{name_of(file)}: {package} {version}"


@pytest.mark.parametrize("name", ["Dockerfile", "mlflow/Dockerfile"])
def test_images_install_the_pinned_versions(name: str) -> None:
    text = (DEPLOY / name).read_text()
    installs = re.findall(r"pip install[^\n]*", text)
    assert installs and all("--constraint" in line and "constraints.txt" in line for line in installs)
    assert re.search(r"^FROM python:3\.11-", text, re.MULTILINE) and re.search(r"^USER (?!root)\w+", text, re.MULTILINE)
    copied = re.findall(r"^COPY (?:--\S+ )?(.+) \S+$", text, re.MULTILINE)
    assert all((ROOT / source).exists() for line in copied for source in line.split())
    allowed = (DEPLOY / f"{name}.dockerignore").read_text().splitlines()
    assert allowed[0] == "*" and all(f"!{source}" in allowed for line in copied for source in line.split())


def test_the_servers_image_holds_what_the_leaderboard_imports() -> None:
    """It is installed without fairsweep's dependencies, which train: what it needs of them is listed there."""
    listed = re.search(r"--constraint /tmp/constraints\.txt \\\n(.+?) \\\n", (DEPLOY / "mlflow" / "Dockerfile").read_text())
    assert listed is not None
    code = """
import importlib, pkgutil, re, sys
from importlib import metadata
from packaging.requirements import Requirement

def named(text):
    return re.sub(r"[-_.]+", "-", text).lower()

there, todo = {"fairsweep", "pip", "setuptools"}, [(Requirement(text), "") for text in sys.argv[1:]]
while todo:
    found, _ = todo.pop()
    try:
        lines = metadata.requires(found.name) or []
    except metadata.PackageNotFoundError:
        continue
    there.add(named(found.name))
    for line in map(Requirement, lines):
        if line.marker is None or any(line.marker.evaluate({"extra": extra}) for extra in (*found.extras, "")):
            if named(line.name) not in there or line.extras:
                there.add(named(line.name))
                todo.append((line, ""))
owners = metadata.packages_distributions()

class Absent:
    def find_spec(self, name, path=None, target=None):
        owned = owners.get(name.partition(".")[0])
        if owned and not there & set(map(named, owned)):
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Absent())
from orchestrator import leaderboard
from orchestrator.leaderboard.server.app import create_app
for module in pkgutil.walk_packages(leaderboard.__path__, "orchestrator.leaderboard."):
    importlib.import_module(module.name)
importlib.import_module("orchestrator.evidence")
create_app()
assert not {"torch", "transformers", "peft", "deepspeed", "ray"} & set(sys.modules)
"""
    environment = {**os.environ, "MLFLOW_BACKEND_STORE_URI": "sqlite://"}
    done = subprocess.run(
        [sys.executable, "-c", code, *shlex.split(listed[1])], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


# ------------------------------------------------------------------------------------------------ security


@pytest.mark.parametrize("file", RAY_FILES, ids=name_of)
def test_tokens_are_on(file: Path) -> None:
    if file.name.startswith("kuberay"):
        assert all(spec.authOptions.mode == "token" for spec in clusters())
    elif file.suffix == ".sh":
        assert "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=" in file.read_text()
    else:
        starts = [line for key in ("head", "worker") for line in ray_up()[f"{key}_start_ray_commands"] if "ray start" in line]
        assert len(starts) == 2 and all("RAY_AUTH_MODE=token; set +a; ray start" in line for line in starts)
        assert any(path.endswith("/.ray/auth_token") for path in ray_up()["file_mounts"])
    assert "RAY_AUTH_MODE=disabled" not in file.read_text()


def test_nothing_listens_to_the_world() -> None:
    """The address 0.0.0.0 stands only where it is a container's own network, which something else closes."""
    everywhere = re.compile(r"0\.0\.0\.0|\[?::\]?:|\* ?:\d")
    found = {name_of(file): [line.strip() for line in file.read_text().splitlines() if everywhere.search(line)] for file in FILES}
    assert {name: lines for name, lines in found.items() if lines} == {
        "kuberay-cluster.yaml": ['dashboard-host: "0.0.0.0"'],
        "kuberay-job.yaml": ['dashboard-host: "0.0.0.0"'],
        "mlflow/compose.yaml": ["MLFLOW_HOST: 0.0.0.0"],
    }
    ports = {name: service.get("ports", []) for name, service in compose()["services"].items()}
    assert ports == {"postgres": [], "mlflow": ["${MLFLOW_BIND:-127.0.0.1}:5000:5000"]}
    (head,) = [line for line in ray_up()["head_start_ray_commands"] if "--head" in line]
    assert "--dashboard-host=127.0.0.1" in head and ray_up()["provider"]["use_internal_ips"] is True
    assert "--include-dashboard=false" in (DEPLOY / "slurm.sh").read_text()
    text = "".join(file.read_text() for file in FILES)
    assert not re.search(r"LoadBalancer|NodePort|hostNetwork|hostPort|privileged: true", text)


def test_no_file_holds_a_secret() -> None:
    known_forms = re.compile(r"AKIA[0-9A-Z]{16}|hf_[A-Za-z0-9]{20,}|-----BEGIN|\b[0-9a-f]{32,}\b")
    assigned = re.compile(r"(?im)^[^#\n]*\b\w*(?:password|secret_key|auth_token|access_key\w*)\b['\"]?\s*[:=]\s*([^\s#]+)")
    for file in FILES:
        text = file.read_text()
        assert not known_forms.search(text), name_of(file)
        for value in assigned.findall(text):
            assert re.match(r"\$|\{|/run/secrets/|~/", value), f"{name_of(file)}: {value}"
    assert (DEPLOY / "mlflow" / ".gitignore").read_text().split() == ["secrets/"]


# ------------------------------------------------------------------------------------------------ the manual


@pytest.mark.parametrize("file", [path for path in FILES if path.suffix in (".yaml", ".sh")], ids=name_of)
def test_the_readme_explains_every_file(file: Path) -> None:
    assert f"deploy/{name_of(file)}" in README or file.name == "start.sh"


def test_the_readme_shows_commands_that_there_are() -> None:
    blocks = "\n".join(re.findall(r"```(?:bash|sh)?\n(.*?)```", README, re.DOTALL)).replace("\\\n", " ")
    for line in re.findall(r"^\s*(?:\S+=\S+ )*fairsweep (.+)$", blocks, re.MULTILINE):
        words = shlex.split(line, comments=True)
        known = cli.commands[words[0]]  # type: ignore[attr-defined]
        options = {name for parameter in known.params for name in (*parameter.opts, *parameter.secondary_opts)}
        assert {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)} <= options, line


# ------------------------------------------------------------------------------------------------ the MLflow server's start


@pytest.fixture
def secret_files(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / "secrets"
    folder.mkdir()
    made = {name: secrets.token_urlsafe(12) for name in ("postgres_password", "admin_password", "flask_secret_key")}
    for name, value in made.items():
        (folder / name).write_text(value + "\n")
    return made


def start_mlflow(folder: Path, **environment: str) -> subprocess.Popen[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), clean["PATH"]])
    with (folder / "server.log").open("w") as log:
        return subprocess.Popen(
            [str(DEPLOY / "mlflow" / "start.sh")],
            cwd=folder,
            env={**clean, "PATH": path, "SECRETS": str(folder / "secrets"), "TMPDIR": str(folder), **environment},
            stdout=log,
            stderr=log,
            text=True,
            start_new_session=True,
        )


def test_a_missing_secret_is_named(tmp_path: Path, secret_files: dict[str, str]) -> None:
    (tmp_path / "secrets" / "admin_password").write_text("")
    server = start_mlflow(tmp_path, ARTIFACTS="s3://bucket/mlflow")
    assert server.wait(timeout=60) == 2
    log = (tmp_path / "server.log").read_text()
    assert "secrets/admin_password is missing or empty. Fix:" in log and not [value for value in secret_files.values() if value in log]


@pytest.mark.services
def test_the_server_starts_on_postgresql_and_asks_for_a_password(tmp_path: Path, secret_files: dict[str, str]) -> None:
    required(postgresql.missing() is None, str(postgresql.missing()))
    with postgresql.Postgres() as database:
        uri = database.database("mlflow")
        user, password = uri.removeprefix("postgresql://").partition("@")[0].split(":")
        (tmp_path / "secrets" / "postgres_password").write_text(password + "\n")
        port = free_port()
        places = {"POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": str(database.port), "POSTGRES_USER": user, "POSTGRES_DB": "mlflow"}
        server = start_mlflow(tmp_path, ARTIFACTS=str(tmp_path / "artifacts"), MLFLOW_PORT=str(port), **places)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for_health(server, url, tmp_path / "server.log")
            search = f"{url}/api/2.0/mlflow/experiments/search?max_results=10"
            assert requests.get(search, timeout=60).status_code == 401
            assert requests.get(search, auth=("admin", "wrong"), timeout=60).status_code == 401
            answer = requests.get(search, auth=("admin", secret_files["admin_password"]), timeout=60)
            assert answer.status_code == 200
            assert requests.get(f"{url}/leaderboard/sweeps", timeout=60).status_code == 401
            board = requests.get(f"{url}/leaderboard/sweeps", auth=("admin", secret_files["admin_password"]), timeout=60)
            assert board.json() == {"sweeps": []}
            # Artifacts go through the server: clients need no credentials of the bucket.
            assert {found["artifact_location"].split(":")[0] for found in answer.json()["experiments"]} == {"mlflow-artifacts"}
            # Every user of a machine reads command lines.
            lines = [Path(f"/proc/{pid}/cmdline").read_text() for pid in processes_of(server)]
            assert lines and not [line for line in lines if password in line or secret_files["admin_password"] in line]
            (config,) = tmp_path.glob("mlflow-auth-*.ini")
            assert config.stat().st_mode & 0o077 == 0
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait(timeout=30)


def wait_for_health(server: subprocess.Popen[str], url: str, log: Path) -> None:
    end = time.monotonic() + 180
    while time.monotonic() < end and server.poll() is None:
        try:
            if requests.get(f"{url}/health", timeout=5).ok:
                return
        except requests.RequestException:
            time.sleep(0.2)
    pytest.fail(f"the server did not start:\n{log.read_text()[-3000:]}")


def processes_of(server: subprocess.Popen[str]) -> list[int]:
    import psutil

    root = psutil.Process(server.pid)
    return [root.pid, *(child.pid for child in root.children(recursive=True))]


def test_what_slurm_starts_inline_is_python() -> None:
    (program,) = re.findall(r"<<'PYTHON'[^\n]*\n(.*?)\nPYTHON\n", (DEPLOY / "slurm.sh").read_text(), re.DOTALL)
    ast.parse(program)
