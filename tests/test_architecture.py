"""The shape that the project promises: packages as cache borders, one-way imports, small rooms."""

import ast
import functools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pydantic
import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from shotcount.core import params as reading
from shotcount.core.params import load_params
from shotcount.params import Params

SOURCE = ROOT / "src" / "shotcount"
STAGES: dict[str, dict] = {
    name: stage
    for file in (ROOT / "dvc.yaml", ROOT / "data" / "dvc.yaml")
    for name, stage in yaml.safe_load(file.read_text(encoding="utf-8"))["stages"].items()
}
# Top to bottom: each package imports only what is below it.
LAYERS = [
    "cluster", "proposal", "commands", "report", "classifier", "findings", "uncertainty", "scoring",
    "refit", "training", "tasks", "parallel", "networks", "sampling", "boxes", "photos", "scenes",
    "demo", "core",
]  # fmt: skip
CODE = [
    path for folder in ("src", "stages", "benchmarks", "validation")
    for path in sorted((ROOT / folder).rglob("*.py"))
]  # fmt: skip


def script(stage: str) -> str:
    """The script that the stage runs, relative to the root."""
    name = next(word for word in STAGES[stage]["cmd"].split() if word.endswith(".py"))
    return name.removeprefix("../")


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """Our modules that the file imports, anywhere in it: "core.files", "params"."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.ImportFrom)
            and (node.module or "").partition(".")[0] == "shotcount"
        ):
            base = ".".join((node.module or "").split(".")[1:])
            for alias in node.names:
                name = f"{base}.{alias.name}".removeprefix(".")
                names.add(name if module(name).exists() else base)
    return frozenset(names)


def module(name: str) -> Path:
    return SOURCE / f"{name.replace('.', '/')}.py"


def closure(path: Path) -> set[str]:
    found: set[str] = set()
    todo = set(imports(path))
    while todo:
        name = todo.pop()
        found.add(name)
        todo |= imports(module(name)) - found
    return found


def package(name: str) -> str:
    """The package of a module; a module beside the packages stands for itself."""
    head, dot, _ = name.partition(".")
    return head if dot else f"{head}.py"


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_a_stage_depends_on_its_script_and_the_packages_of_its_imports(stage: str) -> None:
    deps = [dep.removeprefix("../") for dep in STAGES[stage]["deps"]]
    ours = {dep.removeprefix("src/shotcount/") for dep in deps if dep.startswith("src/")}
    assert ours == {package(name) for name in closure(ROOT / script(stage))}
    assert script(stage) in deps
    assert len(deps) == len(set(deps))


def test_unfinished_work_is_keyed_by_the_packages_that_the_stage_depends_on() -> None:
    """What a script has imported when it begins: a later import would be no part of the key."""
    program = """if True:
        import runpy, sys
        for path in sys.argv[1:]:
            runpy.run_path(path)
            ours = [name for name in sys.modules if name.startswith("shotcount.")]
            print(*{name.split(".")[1] for name in ours})
            for name in ours:  # torch alone stays loaded, which takes long to import
                del sys.modules[name]
    """
    stages = (
        "demo",
        "prepare",
        "features",
        "tune",
        "train",
        "refit",
    )  # those that keep unfinished work
    paths = [ROOT / script(stage) for stage in stages]
    shown = subprocess.check_output([sys.executable, "-c", program, *paths], text=True)
    for path, imported in zip(paths, shown.splitlines(), strict=True):
        assert "workspace(" in path.read_text(encoding="utf-8")
        assert set(imported.split()) == {package(name) for name in closure(path)}, path


def test_types_are_right() -> None:
    """Here, beside other tests, since mypy takes one core half a minute."""
    checked = subprocess.run(
        [sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout


def test_packages_import_one_way() -> None:
    assert {path.parent.name for path in SOURCE.glob("*/*.py")} == set(LAYERS)
    for place, name in enumerate(LAYERS):
        for path in (SOURCE / name).glob("*.py"):
            below = {package(used) for used in imports(path)}
            assert below <= {name, *LAYERS[place + 1 :], "params.py"}, path
            assert "params.py" not in below or name in ("cluster", "proposal", "commands"), path
    for path in CODE:
        if path.is_relative_to(SOURCE):
            own = path.relative_to(SOURCE).with_suffix("").as_posix().replace("/", ".")
            assert own not in closure(path), f"{own} imports itself"


def test_an_import_of_a_module_does_not_load_its_package() -> None:
    for path in SOURCE.rglob("__init__.py"):
        assert path.read_text(encoding="utf-8") == "", path


def test_statistics_words_and_splits_load_without_torch() -> None:
    """Neither directly nor by way of another module."""
    for name in ("sampling", "scoring", "uncertainty", "findings", "report", "boxes", "photos"):
        for path in (SOURCE / name).glob("*.py"):
            for used in [path, *map(module, closure(path))]:
                text = used.read_text(encoding="utf-8")
                assert not re.search(r"^\s*(import|from) (torch|timm)\b", text, re.M), (path, used)


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            yield node


def test_packages_modules_and_functions_stay_small() -> None:
    for folder in {path.parent for path in CODE}:
        own = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(own) <= 9 or folder.name == "stages", folder
    for path in CODE:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 300, path
        for function in functions(path):
            where = f"{path}: {function.name}"
            length = (function.end_lineno or 0) - function.lineno + 1
            assert length <= (80 if function.name == "train_network" else 60), where
            arguments = function.args
            named = [
                a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
            ]
            assert len([name for name in named if name not in ("self", "cls")]) <= 7, where


def test_stages_are_thin() -> None:
    for path in (ROOT / "stages").glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 60, path.name


def test_only_evaluate_depends_on_the_test_split() -> None:
    readers = [s for s in STAGES if "data/splits/test" in STAGES[s]["deps"]]
    assert readers == ["evaluate"]
    for stage in STAGES:
        text = (ROOT / script(stage)).read_text(encoding="utf-8")
        assert ('splits/test"' in text) == (stage == "evaluate"), stage


def test_the_split_depends_on_no_size_of_the_study_and_no_result_on_the_photo_files() -> None:
    assert STAGES["split"]["params"] == ["split", "study.draws"]
    assert "data/subsets" not in STAGES["split"]["deps"]
    # gallery shows them; all else sees what prepare made of them.
    assert [s for s in STAGES if "${data.path}" in STAGES[s]["deps"]] == ["prepare", "gallery"]


def test_a_study_may_leave_out_any_strategy() -> None:
    """What a stage of one strategy makes is needed by stages of the same strategy alone."""
    made = [
        re.escape(out).replace(re.escape("${item.strategy}"), "(scratch|frozen|finetune)")
        for stage in STAGES.values()
        for out in stage.get("outs", [])
        if "${item.strategy}" in str(out)
    ]
    assert made
    for name, stage in STAGES.items():
        for dep in stage["deps"]:
            assert not any(re.match(out, dep) for out in made), (name, dep)


def test_data_opens_no_door_to_code() -> None:
    """No pickle, no other way to run what a file holds; and Pillow's guards stay up."""
    forbidden = (
        r"\bpickle\b|allow_pickle|weights_only=False|torch\.jit\.load|(?<!\.)\b(eval|exec)\(|os\.system|"
        r"shell=True|LOAD_TRUNCATED_IMAGES|MAX_IMAGE_PIXELS|yaml\.(unsafe_|full_)?load\((?!.*_Loader)"
    )
    for path in [*SOURCE.rglob("*.py"), *(ROOT / "stages").glob("*.py")]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(forbidden, text), path.name
        assert text.count("torch.load(") == text.count("weights_only=True"), path.name
    assert issubclass(reading._Loader, yaml.SafeLoader)


def test_commands_hold_no_name_from_the_data() -> None:
    for name, stage in STAGES.items():
        assert set(re.findall(r"\$\{(.*?)\}", stage["cmd"])) <= {
            "item.strategy", "item.samples", "item.angles",
        }, name  # fmt: skip


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
    for stage in STAGES.values():
        for entry in stage.get("params", []):
            entries = entry["../params.yaml"] if isinstance(entry, dict) else [entry]
            tracked += [e.replace(".${item.strategy}", "") for e in entries]
    code = "".join(
        path.read_text(encoding="utf-8")
        for path in [*SOURCE.rglob("*.py"), *(ROOT / "stages").glob("*.py")]
        if path.name not in ("params.py", "settings.py")
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
        load_params(path, Params)


@pytest.mark.parametrize(
    ("file", "extras"),
    [
        ("requirements.txt", ["demo"]),
        ("requirements-cluster.txt", ["demo", "cluster"]),
        ("requirements-dev.txt", ["demo", "cluster", "dev"]),
    ],
)
def test_requirements_pin_exactly_what_pyproject_declares(file: str, extras: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [project["dependencies"], *map(project["optional-dependencies"].get, extras)]
    wanted = [Requirement(line) for lines in declared for line in lines]
    ranges = {canonicalize_name(r.name): r.specifier for r in wanted}
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines)
    assert {canonicalize_name(name) for name in pins} == set(ranges)
    for name, version in pins.items():
        assert version in ranges[canonicalize_name(name)], name
