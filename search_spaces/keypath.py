"""Key paths such as `methods.lora.rank`: following, setting and removing them in a sweep file as written."""

from __future__ import annotations

from typing import Any


def steps(root: Any, path: str) -> list[str | int]:
    """Return the keys along a path; a key with dots in it, such as a model's name, is recognised where it stands in the file."""
    parts, found, node = path.split("."), list[str | int](), root
    while parts:
        size = next((n for n in range(len(parts), 0, -1) if isinstance(node, dict) and ".".join(parts[:n]) in node), 1)
        key: str | int = ".".join(parts[:size])
        if isinstance(node, list) and str(key).isdecimal():
            key = int(key)
        found.append(key)
        node = _child(node, key)
        parts = parts[size:]
    return found


def assign(root: dict[Any, Any], path: str, value: Any) -> None:
    """Set the value at a path, making the mappings that lack on the way.

    Raises:
        ValueError: the path leads through something that is neither a mapping nor a list with that index.
    """
    *way, last = steps(root, path)
    node: Any = root
    for key in way:
        if isinstance(node, dict) and node.get(key) is None:
            node[key] = {}
        node = _inside(node, key, path)[key]
    _inside(node, last, path)[last] = value


def remove(root: Any, path: str) -> None:
    """Remove what stands at a path, or nothing where it does not exist."""
    *way, last = steps(root, path)
    for key in way:
        root = _child(root, key)
    if _child(root, last) is not None:
        del root[last]


def _inside(node: Any, key: str | int, path: str) -> Any:
    if isinstance(node, dict):
        return node
    if isinstance(node, list) and isinstance(key, int) and key < len(node):
        return node
    found = f"a list of {len(node)}, whose entries are numbered from 0" if isinstance(node, list) else f"{node!r}, which has no keys"
    raise ValueError(f"{path!r} looks for {key!r} in {found}")


def _child(node: Any, key: str | int) -> Any:
    if isinstance(node, dict):
        return node.get(key)
    if isinstance(node, list) and isinstance(key, int) and key < len(node):
        return node[key]
    return None
