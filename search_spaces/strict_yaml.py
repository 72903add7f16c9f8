"""YAML as people mean it: `1e-4` is a number, a key stands once, and an error says where."""

from __future__ import annotations

import re
from typing import Any

import yaml

from search_spaces.errors import Fault


class YamlFault(Exception):
    """Text that is not YAML, or repeats a key."""

    def __init__(self, line: int | None, message: str) -> None:
        super().__init__(message)
        self.fault = Fault(f"line {line}" if line else "", message)


class _Loader(yaml.SafeLoader):
    """The safe loader with the numbers and truth values of YAML 1.2, refusing repeated keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping.

        Raises:
            YamlFault: a key stands twice.
        """
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == "tag:yaml.org,2002:merge" or not isinstance(key_node, yaml.ScalarNode):
                continue
            key = self.construct_object(key_node)
            if key in seen:
                raise YamlFault(line, f"the key {key!r} stands twice; it was given on line {seen[key]} already")
            seen[key] = line
        return super().construct_mapping(node, deep)


_REPLACED = {"tag:yaml.org,2002:float", "tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp"}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REPLACED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# YAML 1.1 reads `1e-4` as a text for want of a dot, and `on` or `no` as truth values.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:e[-+]?[0-9]+)?|\.[0-9]+(?:e[-+]?[0-9]+)?|[0-9][0-9_]*e[-+]?[0-9]+|\.(?:inf|nan))\Z",
        re.IGNORECASE,
    ),
    list("-+0123456789."),
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(?:true|false)\Z", re.IGNORECASE), list("tTfF"))


def parse(text: str) -> Any:
    """Return the value of one YAML document.

    Raises:
        YamlFault: the text is not YAML, or repeats a key.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" (column {mark.column + 1})" if mark else ""
        raise YamlFault(mark.line + 1 if mark else None, f"not valid YAML{where}: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise YamlFault(None, f"not valid YAML: {error}") from error
