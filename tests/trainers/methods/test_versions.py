"""A method's version: it changes with the code that the method uses, and with no other."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from trainers import registry
from trainers.adapters import khatri_rao


def version_after_edit(monkeypatch: pytest.MonkeyPatch, edited: Path, method: str) -> str:
    read = Path.read_bytes

    def changed(path: Path) -> bytes:
        return read(path) + (b"# edited" if path.resolve() == edited.resolve() else b"")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", changed)
        version: Any = registry.method_version.__wrapped__
        return str(version(method))


@pytest.mark.parametrize(("method", "follows"), [("cp", True), ("lorta", True), ("lora", False), ("vera", False)])
def test_an_edit_of_shared_code_changes_the_methods_that_use_it(monkeypatch: pytest.MonkeyPatch, method: str, follows: bool) -> None:
    changed = version_after_edit(monkeypatch, Path(str(khatri_rao.__file__)), method)
    assert (changed != registry.method_version(method)) == follows


def test_a_method_of_one_file_has_that_file_s_hash() -> None:
    file = Path(registry.__file__).parent / "methods" / "ia3.py"
    assert registry.method_version("ia3") == hashlib.sha256(file.read_bytes()).hexdigest()[:12]
