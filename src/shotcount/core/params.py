"""Read and check params.yaml. Each package declares the sections that it uses.

Comments in params.yaml explain each value, its unit and its range.
"""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pydantic
import yaml
from pydantic import Field

from shotcount.core.errors import UserError

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
UpToOne = Annotated[float, Field(gt=0, le=1)]
PhotoSize = Annotated[int, Field(ge=16)] | Literal["auto"]
Fit = Literal["crop", "pad", "stretch"]  # how a photo becomes a square: see data.fit in params.yaml


class Section(pydantic.BaseModel):
    """One section of params.yaml.

    Strict: the text "0.1" is not a number, and a misspelt key is an error, not a silent default.
    """

    model_config = pydantic.ConfigDict(
        frozen=True, strict=True, extra="forbid", protected_namespaces=()
    )


class Part(Section):
    """Some keys of a section, for a stage that needs only these; other keys are ignored."""

    model_config = pydantic.ConfigDict(extra="ignore")


class Sections(pydantic.BaseModel):
    """The sections of params.yaml that a stage uses; other sections are ignored.

    So a new key in another section does not change the code that the stage depends on.
    """

    model_config = pydantic.ConfigDict(
        frozen=True, strict=True, extra="ignore", protected_namespaces=()
    )


Some = TypeVar("Some", bound=Sections)


def resolve_fit(wanted: Fit | Literal["auto"], detection: bool) -> Fit:
    """Return how photos become squares: auto crops photos of classes, and stretches those of boxes.

    Raises
    ------
    UserError
        If photos with boxes are to be cropped.
    """
    if detection and wanted == "crop":
        raise UserError(
            "data.fit: crop would cut away objects at the edges of photos with boxes: set it to "
            "stretch, pad or auto"
        )
    if wanted == "auto":
        return "stretch" if detection else "crop"
    return wanted


def load_params(path: Path, model: type[Some]) -> Some:
    """Read the sections that `model` declares.

    Raises
    ------
    UserError
        If the file can't be read, or a value is wrong. The message names every wrong key with
        its value, its line and what is expected there.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.compose(text, Loader=_Loader)
        content = yaml.load(text, Loader=_Loader)
    except FileNotFoundError:
        raise UserError(f"{path.name} is missing from {path.parent}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # e.g. a date with month 99
        raise UserError(f"{path.name} is not valid YAML: {error}") from None
    content = content if isinstance(content, dict) else {}
    try:
        return model.model_validate(content)
    except pydantic.ValidationError as error:
        # pydantic reports one failure for each member of a union: one line per key is enough.
        faults = {_key(fault, content): fault for fault in reversed(error.errors())}
        known = {key: _fields(model, key[:-1]) for key in faults}
        lines = [_explain(key, dict(faults[key]), known[key], tree, path) for key in faults]
        raise UserError("\n       ".join(reversed(lines))) from None


class _Loader(yaml.SafeLoader):
    """Reads YAML 1.2 floats as DVC does: PyYAML alone reads 1e-3 as text."""


_Loader.yaml_implicit_resolvers = {
    first: [rule for rule in rules if rule[0] != "tag:yaml.org,2002:float"]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?$|^[-+]?\.(inf|nan)$"),
    list("-+0123456789."),
)


def _key(fault: Mapping[str, Any], content: Any) -> tuple[int | str, ...]:
    """Return the key at fault: pydantic's location without the names of a union's members."""
    *parents, last = fault["loc"] or ("",)
    key = []
    for part in [*parents, last]:
        place = isinstance(content, list) and isinstance(part, int)
        if place or (isinstance(content, dict) and part in content):
            key.append(part)
            content = content[part]
    return (*key, last) if fault["type"] == "missing" else tuple(key)


def _explain(
    key: tuple[int | str, ...], fault: dict[str, Any], known: list[str], tree: Any, path: Path
) -> str:
    name = ".".join(map(str, key)) or path.name
    where = f"({path.name} line {_line(key, tree)})"
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(key[-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
        return f"{name}: unknown key; {hint} {where}"
    if fault["type"] == "missing":
        return f"{name}: missing; add it as in the params.yaml that Shotcount ships {where}"
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if fault["type"] == "value_error":
        return f"{name}: {message} {where}"
    return f"{name}: expected {message}, got {fault['input']!r} {where}"


def _fields(model: Any, key: tuple[int | str, ...]) -> list[str]:
    """Return the valid keys of the section `key`."""
    for part in key:
        field = getattr(model, "model_fields", {}).get(part)
        model = field.annotation if field else None
    return list(getattr(model, "model_fields", {}))


def _line(key: tuple[int | str, ...], node: Any) -> int:
    """Return the line of the deepest part of `key` that is in the file."""
    line = node.start_mark.line + 1 if node else 1
    for part in key:
        if isinstance(node, yaml.MappingNode):
            pairs = {name.value: (name, value) for name, value in node.value}
            if part not in pairs:
                break
            name, node = pairs[part]
            line = name.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line
