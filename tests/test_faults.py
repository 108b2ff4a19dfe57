"""Kill, interrupt, fill the disk: the next run resumes and ends with the same bytes."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Clone

# A stage's command: what it makes, and whether it resumes.
STAGES = {
    "demo.py": (["data/demo"], True),
    "prepare.py": (["data/manifest", "data/boxes", "data/left_out.csv", "data/pixels"], True),
    "split.py": (["data/splits"], False),
    "subsample.py": (["data/subsets"], False),
    "backbone.py": (["data/backbone.safetensors"], False),
    "features.py": (["data/features.npy"], True),
    "tune.py scratch": (["data/rates/scratch"], True),
    "train.py scratch 1.0 3": (["data/models/scratch/1.0x3"], True),
    "train.py finetune 0.5 1": (["data/models/finetune/0.5x1"], True),
    "train.py frozen 1.0 3": (["data/models/frozen/1.0x3"], True),
    "train.py frozen grid": (["data/models/frozen/grid"], True),
    "evaluate.py frozen": (["data/evaluation/frozen"], False),
    "refit.py": (["data/refit"], True),
    "classifier.py": (["data/classifier"], False),
    "gallery.py": (["data/gallery", "data/suspects.csv"], False),
    "plot.py": (["metrics"], False),
}
TIMED = "report.html"  # tells how long the stages took
# Long enough to be killed in the midst of it.
LONGER = {"train__scratch__min_steps": 30, "train__finetune__min_steps": 30}
LONGER |= {"train__frozen__seeds": 6, "parallel__networks": 2}


@dataclass
class Undisturbed:
    made: dict[str, bytes]  # by path
    seconds: float  # from the beginning of the work


class Workbench(Clone):
    """A finished study in which stages are run by hand, without DVC."""

    def __init__(self, study: Clone, folder: Path) -> None:
        self.study, self.folder = study, folder
        shutil.copytree(study.folder, folder, ignore=shutil.ignore_patterns(".dvc", ".git"))
        self.set_params(**LONGER)
        self.known: dict[str, Undisturbed] = {}

    def launch(self, stage: str, *command: str, **variables: str) -> subprocess.Popen[str]:
        """Remove what the stage makes, as DVC does, and start it (or another command)."""
        self.remove(stage)
        script, *arguments = stage.split()
        return self.start(*(command or ("python", f"stages/{script}", *arguments)), **variables)

    def remove(self, stage: str) -> None:
        for name in STAGES[stage][0]:
            path = self.folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def restore(self) -> None:
        """Undo what stages made with the longer settings: other stages read it."""
        for stage in self.known:
            self.remove(stage)
            for name in STAGES[stage][0]:
                source, path = self.study.folder / name, self.folder / name
                (shutil.copytree if source.is_dir() else shutil.copy2)(source, path)

    def wait_for_work(self, stage: str, process: subprocess.Popen[str]) -> None:
        """Wait until the stage has its folder for unfinished work, if it has one."""
        locks = self.folder / "data" / "unfinished"
        while STAGES[stage][1] and process.poll() is None and not any(locks.glob("*/.lock")):
            time.sleep(0.002)

    def finish(self, stage: str, process: subprocess.Popen[str]) -> dict[str, bytes]:
        """Let the stage come to its end; return the files that it has made."""
        shown = process.communicate()[0]
        assert process.returncode == 0, shown
        assert not list((self.folder / "data" / "unfinished").glob("*")), "something is left over"
        tops = [self.folder / name for name in STAGES[stage][0]]
        paths = [p for top in tops for p in ([top] if top.is_file() else top.rglob("*"))]
        return {
            str(p.relative_to(self.folder)): p.read_bytes()
            for p in paths
            if p.is_file() and p.name != TIMED
        }

    def undisturbed(self, stage: str) -> Undisturbed:
        """Run the stage without any fault, once."""
        if stage not in self.known:
            process = self.launch(stage, **self.warm)
            self.wait_for_work(stage, process)
            began = time.perf_counter()
            made = self.finish(stage, process)
            self.known[stage] = Undisturbed(made, time.perf_counter() - began)
        return self.known[stage]

    def again(self, stage: str) -> dict[str, bytes]:
        """Run the stage after a fault; return the files that it has made."""
        return self.finish(stage, self.launch(stage, **self.warm))

    def stop(self, stage: str, how: signal.Signals, share: float) -> tuple[int, str]:
        """Signal the stage and its children at `share` of its work: its status and output."""
        process = self.launch(stage)
        self.wait_for_work(stage, process)
        time.sleep(share * self.undisturbed(stage).seconds)
        os.killpg(process.pid, how)  # not yet waited for, so the number is its own
        shown = process.communicate()[0]
        return process.returncode, shown


@pytest.fixture(scope="module")
def only_workbench(study: Clone, tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    return Workbench(study, tmp_path_factory.mktemp("faults") / "a workbench")


@pytest.fixture
def workbench(only_workbench: Workbench) -> Iterator[Workbench]:
    yield only_workbench
    only_workbench.restore()


# ---- killed -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_stage_ends_with_the_same_bytes(workbench: Workbench, stage: str) -> None:
    expected, draw, kills = workbench.undisturbed(stage).made, random.Random(stage), 0
    while kills < 5:
        kills += workbench.stop(stage, signal.SIGKILL, draw.random())[0] == -signal.SIGKILL
        if draw.random() < 0.7:  # the others are killed again while they go on
            assert workbench.again(stage) == expected
    assert workbench.again(stage) == expected


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["all", "dvc alone"])
def test_a_killed_repro_ends_with_the_same_bytes(study: Clone, tmp_path: Path, whom: str) -> None:
    clone = Clone(tmp_path / "killed")
    (clone.folder / "params.yaml").write_bytes((study.folder / "params.yaml").read_bytes())
    kill_often(clone, study, whom)


def kill_often(clone: Clone, study: Clone, whom: str) -> None:
    """Run a clone to its end, killed on the way; what it makes must be what `study` holds."""
    draw, kills = random.Random(whom), 0
    while True:
        process = clone.start("dvc", "repro")
        try:
            shown = process.communicate(timeout=draw.uniform(2, 20))[0]
        except subprocess.TimeoutExpired:
            kills += 1
            os.killpg(process.pid, signal.SIGKILL) if whom == "all" else process.kill()
            process.communicate()
            continue
        if process.returncode == 0:
            break
        if "Unable to read RWLock-file" in shown:  # docs/faults.md says to delete it
            (clone.folder / ".dvc/tmp/rwlock").unlink()
            continue
        assert "another process is at work" in shown  # the child of a killed dvc
        time.sleep(2)
    print(f"{whom}: {kills} kills")
    assert kills >= 5
    for folder in ("data/models", "data/evaluation", "metrics"):
        for path in (study.folder / folder).rglob("*"):
            if path.is_file() and path.name != TIMED:
                same = clone.folder / path.relative_to(study.folder)
                assert same.read_bytes() == path.read_bytes(), path
    assert clone.repro() == []


def test_renderers_end_with_their_parent(workbench: Workbench) -> None:
    expected = workbench.undisturbed("demo.py").made
    process = workbench.launch("demo.py")
    workbench.wait_for_work("demo.py", process)
    process.kill()  # itself alone
    process.communicate()  # returns once nobody holds its output any more
    assert workbench.again("demo.py") == expected


# ---- interrupted --------------------------------------------------------------------


@pytest.mark.parametrize(
    "stage",
    [
        "demo.py",
        "train.py scratch 1.0 3",
        pytest.param("train.py frozen grid", marks=pytest.mark.slow),
    ],
)
def test_ctrl_c_stops_with_one_line_and_the_next_run_goes_on(
    workbench: Workbench, stage: str
) -> None:
    expected = workbench.undisturbed(stage).made
    status, shown = workbench.stop(stage, signal.SIGINT, 0.3)
    assert status == 130, shown
    assert "interrupted: run again to resume" in shown.splitlines()
    assert "Traceback" not in shown
    assert workbench.again(stage) == expected


# ---- no room ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "kib"),
    [
        ("prepare.py", 64),
        ("train.py scratch 1.0 3", 1024),
        ("plot.py", 8),
        *(
            pytest.param(*other, marks=pytest.mark.slow)
            for other in (
                ("demo.py", 1),
                ("features.py", 64),
                ("evaluate.py frozen", 1),
                ("refit.py", 1),
                ("classifier.py", 1024),
                ("gallery.py", 1),
            )
        ),
    ],
)
def test_a_full_disk_is_told_in_one_line_and_loses_nothing(
    workbench: Workbench, stage: str, kib: int
) -> None:
    expected = workbench.undisturbed(stage).made
    script, *arguments = stage.split()
    command = f"ulimit -f {kib} && exec python stages/{script} {' '.join(arguments)}"
    process = workbench.launch(stage, "bash", "-c", command)
    shown = process.communicate()[0]
    assert process.returncode == 2, shown
    assert "error: no room on the disk" in shown
    assert "Traceback" not in shown
    assert workbench.again(stage) == expected
