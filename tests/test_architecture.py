"""The shape that the project promises: cache borders, one-way imports, no ignored knob."""

import ast
import re
from pathlib import Path

import pydantic
import pytest
import yaml
from conftest import ROOT

from shotcount.core import params
from shotcount.core.params import load_params
from shotcount.params import Params

SOURCE = ROOT / "src" / "shotcount"
STAGES: dict[str, dict] = {
    name: stage
    for file in (ROOT / "dvc.yaml", ROOT / "data" / "dvc.yaml")
    for name, stage in yaml.safe_load(file.read_text(encoding="utf-8"))["stages"].items()
}


def script(stage: str) -> str:
    """The script that the stage runs, relative to the root."""
    name = next(word for word in STAGES[stage]["cmd"].split() if word.endswith(".py"))
    return name.removeprefix("../")


def imports(path: Path) -> set[str]:
    """Names of our modules that the file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "shotcount":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("shotcount."):
            names.add((node.module or "").split(".")[1])
    return names


def closure(path: Path) -> set[str]:
    found: set[str] = set()
    todo = imports(path)
    while todo:
        name = todo.pop()
        found.add(name)
        todo |= imports(SOURCE / f"{name}.py") - found
    return found


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_stage_deps_are_the_import_closure(stage: str) -> None:
    deps = [dep.removeprefix("../") for dep in STAGES[stage]["deps"]]
    ours = {dep for dep in deps if dep.startswith("src/shotcount/")}
    modules = closure(ROOT / script(stage))
    # A module and what it reads beside itself, as a template.
    files = {path for module in modules for path in SOURCE.glob(f"{module}.*")}
    assert ours == {path.relative_to(ROOT).as_posix() for path in files}
    assert script(stage) in deps
    assert len(deps) == len(set(deps))


def test_only_evaluate_depends_on_the_test_split() -> None:
    readers = [s for s in STAGES if "data/splits/test" in STAGES[s]["deps"]]
    assert readers == ["evaluate"]
    for stage in STAGES:
        text = (ROOT / script(stage)).read_text(encoding="utf-8")
        assert ('splits/test"' in text) == (stage == "evaluate"), stage


def test_the_split_depends_on_no_size_of_the_study() -> None:
    assert STAGES["split"]["params"] == ["split"]
    assert "data/subsets" not in STAGES["split"]["deps"]


def test_data_opens_no_door_to_code() -> None:
    """No pickle, no other way to run what a file holds; and Pillow's guards stay up."""
    forbidden = (
        r"\bpickle\b|allow_pickle|weights_only=False|torch\.jit\.load|(?<!\.)\b(eval|exec)\(|os\.system|"
        r"shell=True|LOAD_TRUNCATED_IMAGES|MAX_IMAGE_PIXELS|yaml\.(unsafe_|full_)?load\((?!.*_Loader)"
    )
    for path in [*SOURCE.glob("*.py"), *(ROOT / "stages").glob("*.py")]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(forbidden, text), path.name
        assert text.count("torch.load(") == text.count("weights_only=True"), path.name
    assert issubclass(params._Loader, yaml.SafeLoader)


def test_commands_hold_no_name_from_the_data() -> None:
    for name, stage in STAGES.items():
        assert set(re.findall(r"\$\{(.*?)\}", stage["cmd"])) <= {
            "item.strategy", "item.samples", "item.angles",
        }, name  # fmt: skip


def test_only_prepare_depends_on_the_photos() -> None:
    assert [s for s in STAGES if "${data.path}" in STAGES[s]["deps"]] == ["prepare"]


def test_imports_run_one_way() -> None:
    modules = {path.stem for path in SOURCE.glob("*.py")}
    for module in modules:
        assert module not in closure(SOURCE / f"{module}.py"), f"{module} imports itself"
    for leaf in ("errors", "seeds", "intervals", "augment", "heads"):
        assert imports(SOURCE / f"{leaf}.py") == set()
    torchless = "seeds splits intervals curves answers report charts scoring photos card page"
    for module in torchless.split():
        text = (SOURCE / f"{module}.py").read_text(encoding="utf-8")
        assert "import torch" not in text, f"{module} must load without torch"


def leaves(model: type[pydantic.BaseModel], prefix: str = "") -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, pydantic.BaseModel):
            names += leaves(nested, f"{prefix}{name}.")
        else:
            names.append(f"{prefix}{name}")
    return names


def test_every_knob_is_read_and_tracked() -> None:
    tracked = []
    for stage in STAGES:
        for entry in STAGES[stage]["params"]:
            entries = entry["../params.yaml"] if isinstance(entry, dict) else [entry]
            tracked += [e.replace(".${item.strategy}", "") for e in entries]
    code = "".join(
        path.read_text(encoding="utf-8")
        for path in [*SOURCE.glob("*.py"), *(ROOT / "stages").glob("*.py")]
        if path.stem != "params"
    )
    assert {script(stage) for stage in STAGES} == {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "stages").glob("*.py")
    }
    for knob in leaves(Params):
        name = knob.rpartition(".")[2]
        assert f".{name}" in code, f"{knob} is read nowhere"
        assert any(knob == t or knob.startswith(f"{t}.") for t in tracked), f"{knob} is untracked"


def test_every_ready_study_is_valid() -> None:
    files = [ROOT / "params.yaml", *(ROOT / "studies").glob("*.yaml")]
    assert len(files) >= 2
    for path in files:
        load_params(path)


def test_stages_are_thin() -> None:
    for path in (ROOT / "stages").glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 80, path.name
