"""What the docs say is so: links lead somewhere, recipes read photos, figures are the study's."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from conftest import ROOT

from shotcount.params import Params
from shotcount.photos import finding

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (
        ROOT / "README.md",
        ROOT / "weights/README.md",
        *sorted((ROOT / "docs").glob("*.md")),
    )
}
README, PHOTOS, BLOG = (PAGES[name] for name in ("README.md", "docs/photos.md", "docs/blog.md"))
RECIPES = dict(re.findall(r"```yaml\n# (\S+) .*\n((?:.*\n)+?)```", PHOTOS))
READ = {
    "1/1/apple1-035-045.jpg": ("apple", "apple/1", "035-045", ""),
    "obj12__35.png": ("car", "car/12", "35", ""),
    "ants/0013035.jpg": ("ants", "ants/0013035", "", ""),
    "train/ants/0013035.jpg": ("ants", "ants/0013035", "", "train"),
    "IMG_2041.JPG": ("car", "car/7", "front", ""),
}
TABLES = {
    "labels.csv": "sample,label\n12,car\n",
    "photos.csv": "path,label,sample,angle\nIMG_2041.JPG,car,7,front\n",
}


def merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    both = dict(base)
    for key, value in change.items():
        both[key] = merged(both[key], value) if isinstance(value, dict) else value
    return both


@pytest.mark.parametrize("path", READ)
def test_recipe_of_the_docs_reads_its_example(path: str, tmp_path: Path, params_text: str) -> None:
    content = merged(yaml.safe_load(params_text), yaml.safe_load(RECIPES[path]))
    data = Params.model_validate(content).data
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).touch()
    if data.table:
        (tmp_path / data.table).write_text(TABLES[data.table], encoding="utf-8")
    found = finding.find_photos(tmp_path, data.pattern, data.table)
    columns = ["label", "sample", "angle", "given_split"]
    assert [tuple(row) for row in found[columns].to_numpy()] == [READ[path]]


def test_every_recipe_of_the_docs_is_tried() -> None:
    assert set(RECIPES) == set(READ)


def committed(path: str) -> str:
    """A file as git has it, whatever a study on this machine has made of it since."""
    shown = subprocess.run(
        ["git", "show", f"HEAD:{path}"], cwd=ROOT, capture_output=True, check=True
    )
    return shown.stdout.decode()


def test_figures_of_the_readme_and_the_blogs_page_are_those_of_the_committed_study() -> None:
    study = committed("metrics/study.md")
    largest = re.findall(
        r"\d+\.\d \(\d+\.\d–\d+\.\d\)", study.partition("##")[2].partition("##")[0]
    )
    for row, ours in zip(
        ("from scratch", "frozen features", "fine-tuned"), largest[-3:], strict=True
    ):
        said = BLOG.split(f"\n| {row} | ")[1].splitlines()[0].split(" | ")[1]
        assert re.findall(r"\d+\.\d", said) == re.findall(r"\d+\.\d", ours)
    metrics = json.loads(committed("metrics/metrics.json"))
    answer = metrics["answer"]
    size = f"{answer['photos']:,} photos: {answer['angles']} angles?"
    assert re.search(f"{size} of each", BLOG)
    assert (
        f"{answer['photos']:,} photos, {answer['samples']} samples from {answer['angles']}"
        in README
    )
    finds = pd.read_csv(io.StringIO(committed("metrics/equal_budgets.csv"))).set_index("photos")
    more_finds = 100 * finds.loc[720, ["gain", "gain_low", "gain_high"]]
    gain = re.findall(r"would bring (.+?) points \(95 % interval (.+?)\)", study)[0]
    for said in (
        *(f"{100 * metrics[strategy]['accuracy']:.1f} %" for strategy in ("scratch", "frozen")),
        f"{100 * answer['accuracy']:.1f} % of the test photos",
        f"{100 * answer['accuracy_low']:.0f} to {100 * answer['accuracy_high']:.0f}",
        f"between {answer['photos_low']} and {answer['photos_high']:,} photos",
        f"{gain[0]} points ({gain[1]}), twice the",
        "720 photos of 144 finds got {:.1f} points ({:.1f} to {:.1f}) more".format(*more_finds),
    ):
        assert said in " ".join(README.split())


# ---- links ------------------------------------------------------------------------------


def anchors(page: str) -> set[str]:
    """What GitHub calls the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page, flags=re.M | re.S)
    heads = [re.sub(r"[^\w\- ]", "", head.lower()) for head in re.findall(r"^#+ (.+)$", text, re.M)]
    return {head.replace(" ", "-") for head in heads}


@pytest.mark.parametrize("name", PAGES)
def test_every_relative_link_leads_somewhere(name: str) -> None:
    links = re.findall(r"\]\((?!https?://)([^()\s]+)\)", PAGES[name])
    for path, _, anchor in (link.partition("#") for link in links):
        to = (ROOT / name).parent.joinpath(path).resolve() if path else ROOT / name
        assert to.is_relative_to(ROOT) and to.exists(), f"{name} links to {path}"
        if anchor:
            assert anchor in anchors(to.read_text(encoding="utf-8")), f"{path}#{anchor}"


def test_every_page_is_in_the_index_and_every_page_that_is_named_exists() -> None:
    linked = set(re.findall(r"\]\((\w+\.md)\)", PAGES["docs/README.md"]))
    assert {f"docs/{name}" for name in linked} | {"docs/README.md"} == {
        name for name in PAGES if name.startswith("docs/")
    }
    named = subprocess.run(
        ["git", "grep", "-hoE", r"\bdocs/\w+\.md"], cwd=ROOT, capture_output=True, text=True
    )
    assert set(named.stdout.split()) <= set(PAGES)


def test_commands_that_the_pages_name_exist() -> None:
    code = [
        line
        for page in PAGES.values()
        for block in re.findall(r"`([^`\n]+)`|^```\n(.+?)^```", page, re.M | re.S)
        for line in "\n".join(block).splitlines()
    ]
    made = {target for line in code for target in re.findall(r"(?:^|&& )make ([a-z][\w-]*)", line)}
    rules = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert made <= set(re.findall(r"^([\w-]+):", rules, re.M))
    run = {name for line in code for name in re.findall(r"^(?:\$ )?shotcount ([a-z-]+)", line)}
    program = Path(sys.executable).parent / "shotcount"
    shown = subprocess.run([program, "--help"], capture_output=True, check=True, text=True).stdout
    assert run <= set(re.findall(r"\{(.+?)\}", shown)[0].split(","))
    assert {"study", "pictures"} <= made and {"init", "predict"} <= run
