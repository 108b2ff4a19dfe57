"""Change values in the text of params.yaml; comments and layout stay as they are."""

import difflib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from shotcount.core.errors import UserError
from shotcount.core.params import load_params
from shotcount.params import Params


def edit(text: str, changes: Mapping[str, Any]) -> str:
    """Replace values in YAML.

    Parameters
    ----------
    text : str
        Mappings of any depth.
    changes : mapping of str to value
        New values by key, with dots between the sections: "study.angles". A value that is already
        there stays as it is written.

    Raises
    ------
    UserError
        If a key is missing.
    """
    tree = yaml.compose(text, Loader=yaml.SafeLoader)
    known = yaml.safe_load(text)
    places = []
    for key, value in changes.items():
        name, node = _find(tree, key)
        old: Any = known
        for part in key.split("."):
            old = old[part]
        if old != value or isinstance(old, bool) != isinstance(value, bool):
            colon = text.index(":", name.end_mark.index) + 1
            places.append((colon, _end(node, colon), written(value)))
    for begin, end, new in sorted(places, reverse=True):
        text = f"{text[:begin]} {new}{text[end:]}"
    return text


def _find(node: Any, key: str) -> tuple[Any, Any]:
    """Return the nodes of a key and of its value."""
    name = node
    for part in key.split("."):
        pairs = {k.value: (k, v) for k, v in getattr(node, "value", ()) or ()}
        if part not in pairs:
            raise UserError(
                f"params.yaml: {key} is missing: add it as in the params.yaml that Shotcount ships"
            )
        name, node = pairs[part]
    return name, node


def _end(node: Any, colon: int) -> int:
    """Return where a value ends. A block list ends with its last value, not with what follows."""
    if isinstance(node, yaml.SequenceNode) and not node.flow_style and node.value:
        return _end(node.value[-1], colon)
    return max(node.end_mark.index, colon)


def written(value: Any) -> str:
    """Write a value as params.yaml does.

    >>> written(None), written([1, 0.5]), written("data/demo"), written("a: b")
    ('null', '[1, 0.5]', 'data/demo', "'a: b'")
    """
    if isinstance(value, str):
        plain = re.fullmatch(r"[A-Za-z_./][\w./-]*", value)
        if plain and yaml.safe_load(value) == value:
            return value
        return "'" + value.replace("'", "''") + "'" if value.isprintable() else json.dumps(value)
    return json.dumps(value)


def compare(old: str, new: str, name: str) -> list[str]:
    """Return the lines of a unified diff."""
    lines = difflib.unified_diff(
        old.splitlines(), new.splitlines(), name, f"{name} (proposed)", n=1, lineterm=""
    )
    return list(lines)


def load_text(text: str) -> Params:
    """Check the text of a params.yaml.

    Raises
    ------
    UserError
        If it is no valid study.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder, "params.yaml")
        path.write_text(text, encoding="utf-8")
        return load_params(path, Params)
