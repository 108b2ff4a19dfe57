"""The Dockerfile, as far as a test without Docker can tell."""

import json
import re
import tomllib

from conftest import ROOT

TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
STEPS = [
    (step.split()[0], step.split(maxsplit=1)[1])
    for step in re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", TEXT, flags=re.M)).splitlines()
    if step
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def said(kind: str) -> list[str]:
    return [rest for name, rest in STEPS if name == kind]


def test_what_is_copied_exists_and_is_sent_to_docker() -> None:
    copied = {path for step in said("COPY") for path in step.split()[:-1]}
    assert copied == {"requirements.txt", "pyproject.toml", PROJECT["readme"], "src"}
    assert all((ROOT / path).exists() for path in copied)
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == copied


def test_packages_are_installed_before_the_code_is_copied() -> None:
    """So an edit of the code leaves that layer, which takes minutes, in Docker's cache."""
    steps = [" ".join(step) for step in STEPS]
    packages = next(i for i, step in enumerate(steps) if "--requirement requirements.txt" in step)
    assert steps.index("COPY requirements.txt ./") < packages < steps.index("COPY src src")


def test_any_user_but_root_runs_it() -> None:
    (user,) = said("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    given = dict(pair.split("=") for step in said("ENV") for pair in step.split())
    assert {"USER", "LOGNAME", "HOME"} <= set(given)  # DVC asks for a name


def test_its_python_and_its_commands_are_those_of_the_project() -> None:
    (base,) = said("FROM")
    version = re.fullmatch(r"python:(3\.\d+)-slim-\w+", base)
    assert version and PROJECT["requires-python"] == f">={version[1]}"
    (command,) = said("CMD")
    assert json.loads(command) == ["dvc", "repro"]
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert re.search(r"^dvc==", pins, re.M)
    told = (ROOT / "docs/gpu.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^study (\w+)", told, re.M))
    assert named == {"python", *PROJECT["scripts"]}
    (argument,) = said("ARG")
    assert f"docker build --build-arg {argument}=<index>" in told
