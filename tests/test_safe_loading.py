"""Nothing that comes from a storage, a hub or a tracking server is unpickled or executed: no call in the packages allows it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [path for package in ("search_spaces", "trainers", "orchestrator", "cluster") for path in sorted((ROOT / package).rglob("*.py"))]
MODULES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
ALLOWING = {"allow_pickle": True, "trust_remote_code": True, "weights_only": False, "use_safetensors": False}
CALLS = {"torch.load", "torch.jit.load", "yaml.unsafe_load", "yaml.full_load", "pandas.read_pickle", "eval", "exec"}


def findings(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            yield from (f"line {node.lineno}: imports {name}" for name in names if name.split(".")[0] in MODULES)
        elif isinstance(node, ast.Call):
            if ast.unparse(node.func) in CALLS:
                yield f"line {node.lineno}: calls {ast.unparse(node.func)}"
            for keyword in node.keywords:
                value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
                if keyword.arg in ALLOWING and value is ALLOWING[keyword.arg]:
                    yield f"line {node.lineno}: passes {keyword.arg}={value}"


def test_no_call_unpickles_or_runs_what_it_reads() -> None:
    assert len(FILES) > 100
    assert [f"{file.relative_to(ROOT)}, {found}" for file in FILES for found in findings(file.read_text())] == []


FORBIDDEN = (
    "import pickle",
    "from joblib import load",
    "np.load(f, allow_pickle=True)",
    "torch.load(f)",
    "auto.from_pretrained(name, trust_remote_code=True)",
)


@pytest.mark.parametrize("source", FORBIDDEN)
def test_such_a_call_would_be_found(source: str) -> None:
    assert len(list(findings(source))) == 1
