"""The commands of docs/experiments.md, as users type them, and what a pull request shows."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import vl_convert
import yaml
from conftest import ROOT, Clone, Existing, copy_of, in_a_terminal

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
NARROW = ["--only-changed", "--drop", ".*(/|_low|_high)"]  # as docs/experiments.md recommends


@pytest.fixture(scope="module")
def original(study: Clone, tmp_path_factory: pytest.TempPathFactory) -> Existing:
    """A copy of the finished study, so that experiments leave it alone."""
    clone = copy_of(study, tmp_path_factory.mktemp("experiments") / "a study")
    clone.run("git", "branch", "--move", "main")
    return clone


@pytest.fixture
def clone(original: Existing) -> Iterator[Existing]:
    """The finished study on a branch of its own, given back as it was."""
    original.run("git", "switch", "--quiet", "--create", "trial")
    yield original
    original.run("git", "switch", "--quiet", "--force", "main")
    original.run("git", "branch", "--quiet", "--delete", "--force", "trial")
    original.run("git", "clean", "--quiet", "--force", "-d")
    original.run("dvc", "checkout", "--quiet")


def specs(page: Path) -> list[dict]:
    """The interactive charts of a page that `dvc plots` has made."""
    text = page.read_text(encoding="utf-8")
    return [json.loads(s) for s in re.findall(r"var spec = (\{.*?\});\s*vegaEmbed", text, re.S)]


def rows(markdown: str, heading: str) -> dict[str, list[str]]:
    """Rows of the first table below a heading of a comment, by their first cell."""
    section = re.split("<details>|\n### ", markdown.partition(f"### {heading}\n")[2])[0]
    cells = [re.split(r" *\| *", line)[1:-1] for line in section.splitlines() if line[:1] == "|"]
    return {first: rest for first, *rest in cells[2:]}


def lines(spec: dict, kind: str) -> int:
    """How many lines, or areas, the chart draws."""
    return vl_convert.vegalite_to_svg(spec).count(f'class="mark-{kind} role-mark')


# ---- looking ------------------------------------------------------------------------


def test_charts_have_a_line_and_a_band_for_each_strategy(
    original: Existing, tmp_path: Path
) -> None:
    original.run("dvc", "plots", "show", "--out", str(tmp_path))
    accuracy, *training = specs(tmp_path / "index.html")
    assert (lines(accuracy, "line"), lines(accuracy, "area")) == (3, 3)
    assert [lines(spec, "line") for spec in training] == [14 * 3, 14 * 3]  # cells x seeds
    assert [spec["title"]["text"] for spec in training] == [
        "validation accuracy while training",
        "validation loss while training",
    ]
    assert vl_convert.vegalite_to_png(accuracy)[:4] == b"\x89PNG"


def test_metrics_are_few_and_rounded(original: Existing) -> None:
    shown = json.loads(original.run("dvc", "metrics", "show", "--json"))
    (metrics,) = (own["data"] for own in shown[""]["data"].values())
    numbers = [v for part in metrics.values() for v in part.values() if isinstance(v, float)]
    assert numbers
    assert all(v == round(v, 4) for v in numbers)


# ---- trying something ---------------------------------------------------------------


def test_an_experiment_runs_what_it_changes_and_shows_in_every_diff(
    clone: Existing, tmp_path: Path
) -> None:
    more_seeds = ["-S", "train.frozen.seeds=6"]
    ran = clone.stages(clone.run("dvc", "exp", "run", "--name", "more", *more_seeds))
    assert len(ran) == 1 + 1 + 4 + 1 + 1 + 1 + 1 + 1 + 1
    assert {stage.split("-")[0] for stage in ran} == {
        "params", "tune@frozen", "train@frozen", "train_grid", "evaluate@frozen", "refit",
        "classifier", "gallery", "plot",
    }  # fmt: skip
    difference = clone.run("dvc", "metrics", "diff")
    assert re.search(r"frozen\.seeds +3 +6 +3$", difference, re.M)
    assert "finetune." not in difference
    assert "| frozen.seeds" in clone.run("dvc", "metrics", "diff", "--md", "--no-path")
    changed = clone.run("dvc", "params", "diff").splitlines()
    assert [line.split() for line in changed[1:] if line] == [
        ["params.yaml", "train.frozen.seeds", "3", "6"]
    ]
    clone.run("dvc", "plots", "diff", "HEAD", "workspace", "--out", str(tmp_path))
    accuracy, training, _ = specs(tmp_path / "index.html")
    assert (lines(accuracy, "line"), lines(accuracy, "area")) == (3 * 2, 3 * 2)
    assert lines(training, "line") == 2 * 14 * 3 + 6 * 3  # three more seeds of frozen's cells
    table = clone.run("dvc", "exp", "show", *NARROW, "--csv").splitlines()
    heads = table[0].split(",")
    assert {line.split(",")[heads.index("train.frozen.seeds")] for line in table[1:]} == {"3", "6"}
    assert not any("/" in head or head.endswith(("_low", "_high")) for head in heads)
    named = ["--drop", ".*", "--keep", r"Experiment|\w+\.accuracy$|answer\.photos$"]
    few = clone.run("dvc", "exp", "show", *named, "--md").splitlines()[0].split("|")[1:-1]
    assert [head.strip() for head in few] == [
        "Experiment",
        *(f"{of}.accuracy" for of in ("scratch", "frozen", "finetune", "answer")),
        "answer.photos",
    ]

    clone.run("git", "reset", "--quiet", "--hard")
    clone.run("dvc", "checkout", "--quiet")
    clone.run("dvc", "exp", "apply", "more")
    assert "seeds: 6" in (clone.folder / "params.yaml").read_text(encoding="utf-8")
    assert clone.repro() == []
    clone.run("dvc", "exp", "remove", "more")


@pytest.mark.slow
def test_a_queued_grid_runs_and_becomes_a_branch(clone: Existing) -> None:
    grid = ["-S", "answer.tolerance=0.02,0.5", "-S", "answer.replicates=100"]
    queued = clone.run("dvc", "exp", "run", "--queue", *grid)
    names = re.findall(r"Queued experiment '(.*)'", queued)
    assert len(names) == 2
    clone.run("dvc", "queue", "start")
    while re.search(r"Queued|Running", status := clone.run("dvc", "queue", "status")):
        time.sleep(0.5)
    clone.run("dvc", "queue", "stop")
    for name in names:
        assert re.search(rf"{name} .*Success", status), clone.run("dvc", "queue", "logs", name)
    table = clone.run("dvc", "exp", "show", *NARROW, "--csv").splitlines()
    heads = table[0].split(",")
    assert {"answer.tolerance", "answer.replicates"} <= set(heads)
    tolerances = {line.split(",")[heads.index("answer.tolerance")] for line in table[1:]}
    assert tolerances == {"0.01", "0.02", "0.5"}

    clone.run("dvc", "exp", "branch", names[0], "better")
    assert clone.run("git", "show", "better:params.yaml").count("replicates: 100") == 1
    clone.run("git", "branch", "--quiet", "--delete", "--force", "better")
    clone.run("dvc", "exp", "remove", *names)
    clone.run("dvc", "queue", "remove", "--all")


# ---- a remote -----------------------------------------------------------------------


def test_a_pulled_study_is_up_to_date(clone: Existing, tmp_path: Path) -> None:
    clone.run("dvc", "remote", "add", "--default", "storage", str(tmp_path / "remote"))
    clone.commit()
    clone.run("dvc", "push")
    other = Existing(tmp_path / "a colleague's")
    clone.run("git", "clone", "--quiet", ".", str(other.folder))
    other.run("dvc", "pull")
    assert "up to date" in other.run("dvc", "status")
    assert "in sync" in other.run("dvc", "status", "--cloud")
    assert other.repro() == []
    model = "data/models/finetune/0.5x1/seed0.safetensors"
    assert (other.folder / model).read_bytes() == (clone.folder / model).read_bytes()


# ---- watching -----------------------------------------------------------------------


def test_dvc_hands_the_terminal_on_and_the_bytes_are_the_same(clone: Existing) -> None:
    made = clone.folder / "data/models/frozen/1.0x3"
    before = {path.name: path.read_bytes() for path in made.iterdir()}
    command = ["dvc", "repro", "--single-item", "--force", "train@frozen-1.0-3"]
    shown = in_a_terminal(command, cwd=clone.folder, env=clone.environment)
    assert re.search(r"frozen 8x3 100%\|█+\| .*val_accuracy [01]\.\d{3}", shown)
    assert {path.name: path.read_bytes() for path in made.iterdir()} == before


# ---- pull requests ------------------------------------------------------------------


def comment(clone: Clone, base: str = "main") -> str:
    return clone.run("bash", ".github/comment.sh", base)


def test_comment_on_a_changed_parameter(clone: Existing, tmp_path: Path) -> None:
    clone.set_params(train__frozen__seeds=6)
    stale = comment(clone)
    assert "**Out of step**" in stale
    assert "commit `dvc.lock`" in stale
    assert "- `train@frozen-0.5-1`: train.frozen" in stale
    assert "train@finetune" not in stale
    assert rows(stale, "Parameters") == {"train.frozen.seeds": ["3", "6"]}
    assert rows(stale, "Metrics") == {}

    clone.repro()
    assert "**Not committed**" in comment(clone)

    clone.commit()
    told = comment(clone)
    assert "[!WARNING]" not in told
    assert rows(told, "Parameters") == {"train.frozen.seeds": ["3", "6"]}
    assert rows(told, "Metrics")["frozen.seeds"] == ["3", "6", "3"]
    assert not any(name.startswith("finetune.") for name in rows(told, "Metrics"))
    study = (clone.folder / "metrics/study.md").read_text(encoding="utf-8")
    answer = study.partition("\n\n## ")[0]
    assert f"### Answer\n\n{answer}\n" in told
    (image,) = re.findall(r"^!\[.+\]\((.*)\)$", told, re.M)
    assert (clone.folder / image).is_file()

    bare = Existing(tmp_path / "bare")  # as a runner has it: no data
    clone.run("git", "clone", "--quiet", ".", str(bare.folder))
    assert comment(bare, "origin/main") == told
    bare.set_params(answer__tolerance=0.2, train__scratch__epochs=3)
    stale = comment(bare, "origin/main")
    assert "- `plot`: answer\n" in stale
    assert "- `train@scratch-1.0-3`: train.scratch\n" in stale
    assert "train@frozen" not in stale


def test_comment_where_nothing_has_changed(original: Existing) -> None:
    told = comment(original)
    assert "[!WARNING]" not in told
    for heading in ("Metrics", "Parameters"):
        assert f"### {heading}\n\nNo change.\n" in told
    assert "Before" not in told


def test_comment_compares_with_where_the_branch_left_the_base(clone: Existing) -> None:
    clone.run("git", "switch", "--quiet", "--create", "moved")
    clone.set_params(answer__cost_per_photo=0.5)
    clone.commit()
    clone.run("git", "switch", "--quiet", "trial")
    assert rows(comment(clone, "moved"), "Parameters") == {}
    clone.run("git", "branch", "--quiet", "--delete", "--force", "moved")


def test_comment_on_a_base_without_metrics(clone: Existing) -> None:
    clone.run("git", "rm", "--quiet", "-r", "metrics")
    clone.commit()
    clone.run("git", "branch", "empty")
    clone.run("git", "checkout", "--quiet", "main", "metrics")
    clone.commit()
    told = comment(clone, "empty")
    assert "has none to compare with" in told
    assert "Before" not in told
    assert "![Test accuracy" in told
    clone.run("git", "branch", "--quiet", "--delete", "--force", "empty")


def test_comment_links_the_chart_where_it_is_told(
    original: Existing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAW_URL", "https://example.org/raw/abc")
    assert "(https://example.org/raw/abc/metrics/accuracy_vs_size.png)" in comment(original)


def test_comment_without_a_common_history_says_what_to_fetch(original: Existing) -> None:
    shown = original.run("bash", ".github/comment.sh", "nowhere", code=2)
    assert "no common history with nowhere: fetch all of it" in shown


def test_comment_on_a_study_in_a_subfolder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a larger repository, whose root has other metrics. Nothing is trained."""
    house = tmp_path / "a house"
    (house / "metrics").mkdir(parents=True)
    clone = Clone(house / "the study", locked=True)
    shutil.rmtree(clone.folder / ".git")
    (house / "metrics/study.md").write_text("Of another project.\n", encoding="utf-8")
    clone.run("git", "init", "--quiet", "--initial-branch=main", "..")
    clone.run("git", "config", "user.name", "Test")
    clone.run("git", "config", "user.email", "test@example.org")
    clone.commit()
    clone.run("git", "switch", "--quiet", "--create", "trial")
    metrics = clone.folder / "metrics/metrics.json"
    made = json.loads(metrics.read_text(encoding="utf-8"))
    before, made["frozen"]["seeds"] = made["frozen"]["seeds"], 6
    metrics.write_text(json.dumps(made, indent=2), encoding="utf-8")
    answer = (clone.folder / "metrics/study.md").read_text(encoding="utf-8")
    (clone.folder / "metrics/study.md").write_text(f"New.\n\n{answer}", encoding="utf-8")
    clone.commit()
    monkeypatch.setenv("RAW_URL", "https://example.org/raw/abc")
    told = comment(clone)
    assert "none to compare with" not in told
    assert rows(told, "Metrics")["frozen.seeds"][:2] == [str(before), "6"]
    assert f"<summary>Before</summary>\n\n{answer.partition(chr(10))[0]}" in told
    assert "another project" not in told
    assert "(https://example.org/raw/abc/the%20study/metrics/accuracy_vs_size.png)" in told


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_are_valid_and_safe(path: Path) -> None:
    schema = ["check-jsonschema", "--builtin-schema", "vendor.github-workflows", str(path)]
    checked = subprocess.run(schema, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    workflow = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)  # `on` stays text
    assert "pull_request_target" not in workflow["on"]
    assert workflow["permissions"]["contents"] == "read"
    assert "concurrency" in workflow
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    for step in steps:
        assert "${{" not in step.get("run", ""), "what a branch is called must not reach a shell"
        if "uses" in step:
            assert re.search(r"@([0-9a-f]{40}|v\d+\.\d+\.\d+)$", step["uses"])


def test_scripts_are_clean() -> None:
    scripts = [str(ROOT / ".github/comment.sh"), str(ROOT / ".ci/run")]
    checked = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
