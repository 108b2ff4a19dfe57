"""params.yaml as frozen, checked objects. The only module that reads it.

What each value means, its unit and its range stand in params.yaml, beside the value.
"""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import Field, model_validator

from shotcount.errors import UserError

StrategyName = Literal["scratch", "frozen", "finetune"]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
UpToOne = Annotated[float, Field(gt=0, le=1)]


class Section(pydantic.BaseModel):
    """Strict, so that "0.1" is no number and a misspelt key no silent default."""

    model_config = pydantic.ConfigDict(
        frozen=True, strict=True, extra="forbid", protected_namespaces=()
    )


class Parallel(Section):
    processes: Count | Literal["auto"]
    batch_share: Count
    from_photos: Count


class Demo(Section):
    samples: Annotated[int, Field(ge=2)]
    angles: Count
    size: Annotated[int, Field(ge=16)]
    seed: Seed


class Data(Section):
    path: str
    pattern: str | None
    table: str | None
    size: Annotated[int, Field(ge=16)] | Literal["auto"]
    on_bad_photo: Literal["error", "skip"]


class Split(Section):
    val: Fraction | str
    test: Fraction | str
    seed: Seed

    @model_validator(mode="after")
    def _leaves_a_training_split(self) -> "Split":
        fractions = [part for part in (self.val, self.test) if isinstance(part, float)]
        if sum(fractions) >= 1:
            raise ValueError("val and test together must stay below 1: the rest is for training")
        return self


class Grid(Section):
    samples: list[Count | UpToOne]
    angles: list[Count]

    @model_validator(mode="after")
    def _names_each_size_once(self) -> "Grid":
        for name in ("samples", "angles"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} {values} lists a value twice")
        return self


class Study(Grid):
    strategies: Annotated[list[StrategyName], Field(min_length=1)]
    samples: Annotated[list[Count | UpToOne], Field(min_length=1)]
    angles: Annotated[list[Count], Field(min_length=1)]
    frozen_grid: Grid
    angle_order: Literal["spread", "random"]
    draws: Count
    seed: Seed

    @model_validator(mode="after")
    def _names_each_strategy_once(self) -> "Study":
        if len(set(self.strategies)) < len(self.strategies):
            raise ValueError(f"strategies {self.strategies} lists a value twice")
        return self


class Model(Section):
    name: str
    weights: str


class Features(Section):
    views: Annotated[int, Field(ge=0)]
    crop_scale: UpToOne
    flip: bool

    @model_validator(mode="after")
    def _augments_what_it_calls_a_view(self) -> "Features":
        if self.views and self.crop_scale == 1 and not self.flip:
            raise ValueError(
                f"{self.views} augmented views, with crop_scale 1 and no flip, would all be the "
                "photo itself: set views: 0"
            )
        return self


class StepDecay(Section):
    every: Positive
    factor: UpToOne


class Training(Section):
    """What scratch, frozen and finetune have in common."""

    seeds: Count
    epochs: Positive
    min_steps: Annotated[int, Field(ge=0)]
    batch_size: Annotated[int, Field(ge=2)]
    optimizer: Literal["sgd", "adamw"]
    learning_rate: Positive
    weight_decay: NotNegative
    schedule: Literal["constant", "cosine"] | StepDecay
    validations: Count
    patience: Count


class PixelTraining(Training):
    """Networks that see photos, not cached features, can be shown them augmented."""

    crop_scale: UpToOne
    flip: bool


class FineTuning(PixelTraining):
    init_head: Literal["zeros", "frozen"]


class Train(Section):
    scratch: PixelTraining
    frozen: Training
    finetune: FineTuning


class Answer(Section):
    tolerance: Fraction
    target_accuracy: Fraction
    cost_per_sample: NotNegative
    cost_per_photo: Positive
    replicates: Annotated[int, Field(ge=100)]
    reference: Mapping[StrategyName, Fraction]


class Params(Section):
    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["auto", "float32", "bfloat16"]
    compile: bool
    parallel: Parallel
    demo: Demo
    data: Data
    split: Split
    study: Study
    model: Model
    features: Features
    train: Train
    answer: Answer

    @model_validator(mode="after")
    def _has_a_draw_for_every_seed(self) -> "Params":
        for strategy in self.study.strategies:
            seeds = getattr(self.train, strategy).seeds
            if seeds > self.study.draws:
                raise ValueError(
                    f"train.{strategy}.seeds ({seeds}) exceeds study.draws ({self.study.draws}): "
                    "every seed trains on a draw of its own"
                )
        return self


def load_params(path: Path) -> Params:
    """Read and check the whole file, whichever section a stage needs.

    Raises
    ------
    UserError
        Naming every wrong key with its value, its line and what is expected there.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.compose(text, Loader=_Loader)
        content = yaml.load(text, Loader=_Loader)
    except FileNotFoundError:
        raise UserError(f"{path.name} is missing from {path.parent}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date with month 99, ...
        raise UserError(f"{path.name} is not valid YAML: {error}") from None
    content = content if isinstance(content, dict) else {}
    try:
        return Params.model_validate(content)
    except pydantic.ValidationError as error:
        # A union reports a failure for each of its members: one line a key is enough.
        faults = {_key(fault, content): fault for fault in reversed(error.errors())}
        lines = [_explain(key, dict(fault), tree, path) for key, fault in faults.items()]
        raise UserError("\n       ".join(reversed(lines))) from None


class _Loader(yaml.SafeLoader):
    """YAML 1.2 floats, as DVC reads them: PyYAML would take 1e-3 for text."""


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
    """Drop from pydantic's location what names a member of a union rather than a key."""
    *parents, last = fault["loc"] or ("",)
    key = []
    for part in [*parents, last]:
        place = isinstance(content, list) and isinstance(part, int)
        if place or (isinstance(content, dict) and part in content):
            key.append(part)
            content = content[part]
    return (*key, last) if fault["type"] == "missing" else tuple(key)


def _explain(key: tuple[int | str, ...], fault: dict[str, Any], tree: Any, path: Path) -> str:
    name = ".".join(map(str, key)) or path.name
    where = f"({path.name} line {_line(key, tree)})"
    if fault["type"] == "extra_forbidden":
        known = _fields(key[:-1])
        near = difflib.get_close_matches(str(key[-1]), known, n=1)
        mend = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
        return f"{name}: unknown key; {mend} {where}"
    if fault["type"] == "missing":
        return f"{name}: missing; add it as in the params.yaml that Shotcount ships {where}"
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if fault["type"] == "value_error":
        return f"{name}: {message} {where}"
    return f"{name}: expected {message}, got {fault['input']!r} {where}"


def _fields(key: tuple[int | str, ...]) -> list[str]:
    model: Any = Params
    for part in key:
        field = getattr(model, "model_fields", {}).get(part)
        model = field.annotation if field else None
    return list(getattr(model, "model_fields", {}))


def _line(key: tuple[int | str, ...], node: Any) -> int:
    """Return the line of the deepest part of `key` that the file has."""
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
