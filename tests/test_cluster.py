"""Cells side by side: the same bytes as `dvc repro`, recorded, whatever dies meanwhile."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
import yaml
from conftest import ROOT, Clone, processes, wait_for

from shotcount.cli import main
from shotcount.cluster import on_submitit, run, tasks
from shotcount.core.errors import UserError

pytest.importorskip("ray", reason="needs requirements-cluster.txt")
pytest.importorskip("submitit", reason="needs requirements-cluster.txt")

COMMAND = ("python", "-m", "shotcount", "cluster")
REST = ["classifier", "gallery", "plot"]


class Untrained(Clone):
    """A copy of the finished study that knows nothing from the stage tune on."""

    def __init__(self, study: Clone, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(study.folder, folder, ignore=shutil.ignore_patterns("runs"))
        for made in ("rates", "models", "evaluation", "refit", "classifier", "gallery"):
            shutil.rmtree(folder / "data" / made)
        lock = folder / "dvc.lock"
        content = yaml.safe_load(lock.read_text(encoding="utf-8"))
        later = ("tune", "train", "evaluate", "refit", *REST)
        kept = {k: v for k, v in content["stages"].items() if not k.startswith(later)}
        lock.write_text(yaml.safe_dump(content | {"stages": kept}), encoding="utf-8")

    def one_strategy(self) -> None:
        """Leave eight stages to run: tune, four cells, train_grid, evaluate, refit."""
        self.set_params(study__strategies=["frozen"])

    def made(self, *folders: str) -> dict[str, bytes]:
        """The files in these folders that tell no time."""
        paths = [path for name in folders for path in (self.folder / name).rglob("*")]
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in paths
            if path.is_file() and path.name != "report.html"
        }


@pytest.fixture(autouse=True)
def ray_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token for this test alone: Ray would make one in the home folder otherwise."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef" * 4)


@pytest.fixture
def untrained(study: Clone, tmp_path: Path) -> Untrained:
    return Untrained(study, tmp_path / "an untrained study")


made = Untrained.made
FROZEN = ("data/models/frozen", "data/evaluation/frozen")


def recorded(shown: str) -> list[str]:
    """The stages that the command says it has run."""
    return re.findall(r"^\[\d+/\d+\] (\S+): [\d.]+ s on ", shown, re.M)


def read_until(process: subprocess.Popen[str], pattern: str) -> str:
    """Read what a process prints, until a line has the pattern."""
    assert process.stdout is not None
    shown = ""
    for line in process.stdout:
        shown += line
        if re.search(pattern, line):
            return shown
    raise AssertionError(shown)


def one_of(
    pattern: str, folder: Path, command: subprocess.Popen[str], old: Sequence[psutil.Process] = ()
) -> psutil.Process:
    """The first such process, once the command has started one that isn't old."""

    def new() -> list[psutil.Process]:
        return [each for each in processes(pattern, folder) if each not in old]

    return wait_for(new, command)[0]


def kill(these: Sequence[psutil.Process]) -> None:
    for process in these:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


# ---- one machine --------------------------------------------------------------------


@pytest.mark.slow
def test_interrupted_on_ray_it_goes_on_to_the_same_bytes_and_then_does_nothing(
    study: Clone, untrained: Untrained
) -> None:
    untrained.one_strategy()
    process = untrained.start(*COMMAND)
    first = recorded(read_until(process, r"^\[1/5\]"))
    os.killpg(process.pid, signal.SIGINT)
    shown = process.communicate()[0]
    assert process.returncode == 130, shown
    assert "interrupted: run again to resume" in shown
    assert not processes(r"stages/train\.py", untrained.folder)
    first = [stage for stage in first + recorded(shown) if stage != "tune@frozen"]

    shown = untrained.run(*COMMAND)
    assert f"train: {5 - len(first)} stages out of date" in shown
    assert sorted([*first, *recorded(shown)]) == [
        "evaluate@frozen", "refit", "train@frozen-0.5-1", "train@frozen-0.5-3",
        "train@frozen-1.0-1", "train@frozen-1.0-3", "train_grid",
    ]  # fmt: skip
    assert shown.endswith("left for dvc repro: classifier, gallery, plot\n")
    assert untrained.made(*FROZEN) == made(study, *FROZEN)

    shown = untrained.run(*COMMAND)
    assert "train: up to date\nevaluate: up to date\n" in shown
    assert recorded(shown) == []

    # Another parameter and back: the run cache knows the cells, as after `dvc repro`.
    shutil.rmtree(untrained.folder / "data/models")
    lock = untrained.folder / "dvc.lock"
    content = yaml.safe_load(lock.read_text(encoding="utf-8"))
    content["stages"] = {k: v for k, v in content["stages"].items() if k[:5] != "train"}
    lock.write_text(yaml.safe_dump(content), encoding="utf-8")
    shown = untrained.run(*COMMAND)
    assert "train: 5 stages were in the run cache\ntrain: up to date\n" in shown
    assert untrained.made(*FROZEN) == made(study, *FROZEN)
    assert untrained.repro() == REST


@pytest.mark.slow
def test_a_requeued_job_goes_on_to_the_same_bytes(study: Clone, untrained: Untrained) -> None:
    untrained.one_strategy()
    process = untrained.start(*COMMAND, "--on", "local", "--jobs", "2")
    read_until(process, "^train: 5 stages")
    stage = one_of(r"stages/train\.py", untrained.folder, process)
    job = stage.parent()
    assert job is not None
    job.send_signal(signal.SIGUSR2)  # as SLURM does before the time limit
    shown = process.communicate()[0]
    assert process.returncode == 0, shown
    paths = (untrained.folder / on_submitit.JOBS).glob("*_log.*")
    logs = "".join(path.read_text(encoding="utf-8") for path in paths)
    assert logs.count("Requeued job") == 1
    assert "another process is at work" not in logs
    assert untrained.made(*FROZEN) == made(study, *FROZEN)
    assert untrained.repro() == REST


def test_what_fails_is_named_and_the_rest_recorded(untrained: Untrained) -> None:
    untrained.set_params(
        study__strategies=["scratch", "frozen"],
        study__samples=[1.0],
        study__angles=[3],
        train__scratch__learning_rate=1e30,
        train__scratch__min_steps=20,
    )
    shown = untrained.run(*COMMAND, "--on", "local", code=2)
    assert re.search(r"^error: 1 of 3 stages failed, the others are recorded:$", shown, re.M)
    fault = r"training diverged by step \d+: lower learning_rate"
    assert re.search(rf"^ +train@scratch-1.0-3: {fault}", shown, re.M)
    assert "Traceback" not in shown
    assert ": retrying" not in shown  # since it would fail again
    assert sorted(recorded(shown)) == [
        "train@frozen-1.0-3", "train_grid", "tune@frozen", "tune@scratch",
    ]  # fmt: skip


# ---- two nodes ----------------------------------------------------------------------


class Cluster:
    """Two Ray nodes on this machine, of one CPU each, started in folders of their own."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port, self.address = port, f"127.0.0.1:{port}"
        self.folders = [folder / "node one", folder / "node two"]
        self.nodes: list[subprocess.Popen[str]] = []

    def start(self) -> None:
        self._start(self.folders[0], "--head", f"--port={self.port}", "--include-dashboard=false")
        self._start(self.folders[1], f"--address={self.address}")

    def _start(self, folder: Path, *options: str) -> None:
        folder.mkdir()
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        node = subprocess.Popen(
            ["ray", "start", "--block", "--num-cpus=1", "--disable-usage-stats", *options],
            cwd=folder,
            env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT / "src")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.nodes.append(node)
        read_until(node, "Ray runtime started")

    def stop(self) -> None:
        for node in reversed(self.nodes):
            below = psutil.Process(node.pid).children(recursive=True)
            node.terminate()
            node.communicate()
            kill(below)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = Cluster(tmp_path, port)
    try:
        own.start()
        yield own
    finally:
        own.stop()


@pytest.mark.slow
def test_nodes_with_folders_of_their_own_and_a_killed_worker_give_the_same_bytes(
    study: Clone, untrained: Untrained, cluster: Cluster, tmp_path: Path
) -> None:
    there = (*COMMAND, "--address", cluster.address)
    shown = untrained.run(*there, "--cpus", "2", code=2)
    assert "error: --cpus 2: no node of the cluster has more than 1" in shown
    shown = untrained.run(*there, "--files", "remote", code=2)
    assert re.search("error: DVC: .*no remote specified", shown)

    untrained.run("dvc", "remote", "add", "--default", "storage", str(tmp_path / "remote"))
    process = untrained.start(*there, "--files", "remote")
    own = [folder / "shotcount-cells" for folder in cluster.folders]
    one_of(r"stages/train\.py", own[0], process)
    # One that has just begun: if it had ended, its worker's death would cost nothing.
    stage = one_of(r"stages/train\.py", own[1], process, processes(r"stages/train\.py", own[1]))
    worker = stage.parent()
    assert worker is not None
    worker.kill()
    shown = process.communicate()[0]
    assert process.returncode == 0, shown
    assert len(re.findall(r"^train\S+: its worker died .*: retrying \(1 of 2\)$", shown, re.M)) == 1
    assert len(recorded(shown)) == len(set(recorded(shown))) == 3 + 12 + 1 + 3 + 1
    for folder in own:  # where DVC's cache is, and nothing of the other node
        assert (folder / "data/pixels/index.json").exists()
        assert not (folder / ".git").exists()

    assert "up to date" in untrained.run(
        "dvc", "status", "train", "train_grid", "evaluate", "refit"
    )
    assert untrained.repro() == REST
    everything = ("data/models", "data/evaluation", "data/refit", "data/classifier", "metrics")
    assert untrained.made(*everything) == made(study, *everything)
    shown = untrained.run(*there, "--files", "remote")
    assert "train: up to date\nevaluate: up to date\nleft for dvc repro: nothing\n" in shown
    untrained.run("dvc", "push", "--run-cache")
    assert "in sync" in untrained.run("dvc", "status", "--cloud")


# ---- what people type, and what dies ------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--on", "slurm", "--address", "auto"], "--address is not for --on slurm: leave it out"),
        (["--on", "local", "--sbatch", "qos=low"], "--sbatch is not for --on local: leave it out"),
        (["--minutes", "5"], "--minutes is not for --on ray: leave it out"),
        (["--on", "slurm", "--gpus", "0.5"], "--gpus 0.5: a job gets whole GPUs"),
        (["--on", "slurm", "--sbatch", "qos"], "--sbatch qos: write it as OPTION=VALUE"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cluster", *options]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("gpus", ["1.5", "-1", "half", "nan"])
def test_gpus_are_a_share_or_a_whole_number(gpus: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["cluster", f"--gpus={gpus}"])
    assert "a share (0 to 1) or a whole number" in capsys.readouterr().err


def test_no_slurm_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="--on slurm: .*srun"):
        on_submitit.OnSubmitit("slurm", 1, 0, 60, {})


def test_a_node_that_does_not_see_the_folder_says_so(tmp_path: Path) -> None:
    task = tasks.Task(name="train", command="true", folder=tmp_path / "elsewhere", threads=1)
    outcome = tasks.perform(task)
    assert outcome.status == 2
    assert re.search("error: .* doesn't see .*elsewhere: .* --files remote", outcome.said)


def test_what_fails_on_a_node_before_or_after_the_stage_is_told_and_may_be_tried_again(
    tmp_path: Path,
) -> None:
    (tmp_path / "dvc.yaml").touch()
    task = tasks.Task(name="train", command="such-a-program", folder=tmp_path, threads=1)
    reason = run._reason(tasks.perform(task))
    fault = "No such file or directory: 'such-a-program'"
    assert re.fullmatch(rf"status 1 on \S+ \(.*{fault}\)", reason)


class Fickle(tasks.Engine):
    """Its tasks end at once, some of them badly."""

    limit = 1
    description = "fickle"

    def __init__(self, outcomes: dict[str, list[tasks.Outcome | str]]) -> None:
        self.outcomes = outcomes

    def start(self, task: tasks.Task) -> str:
        return task.name

    def wait(self, handles: Sequence[str]) -> Sequence[str]:
        return handles

    def outcome(self, handle: str) -> tasks.Outcome | str:
        return self.outcomes[handle].pop(0)


def test_what_dies_is_tried_again_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commits: list[str] = []
    monkeypatch.setattr(run, "commit", commits.extend)
    good = tasks.Outcome(status=0, said="", node="n")
    killed = tasks.Outcome(status=-9, said="step 1\n", node="n")
    wrong = tasks.Outcome(status=2, said="step 1\nerror: lower it\n", node="n")
    fickle = Fickle({"a": ["gone", good], "b": [killed] * 3, "c": [good], "d": [wrong]})
    common = {"command": "", "folder": Path("/"), "threads": 1}
    todo = [tasks.Task(name=name, **common) for name in fickle.outcomes]
    options = run.Options(threads=1, jobs=None, retries=2, shared=True, pull=False)
    with pytest.raises(UserError) as failed:
        run._run_all(todo, fickle, options)
    assert str(failed.value).splitlines() == [
        "2 of 4 stages failed, the others are recorded:",
        "       d: lower it",
        "       b: status -9 on n (step 1)",
    ]
    assert commits == ["c", "a"]
    shown = capsys.readouterr().out
    assert re.findall(r"^\w: .*: retrying .*$", shown, re.M) == [
        "a: its worker died (gone): retrying (1 of 2)",
        "b: status -9 on n (step 1): retrying (1 of 2)",
        "b: status -9 on n (step 1): retrying (2 of 2)",
    ]


def test_lines_that_threads_print_at_once_stay_whole() -> None:
    code = """if True:
        from concurrent.futures import ThreadPoolExecutor
        from shotcount.cluster.run import _print_whole_lines

        def say(word):
            for _ in range(2000):
                print(word * 20)

        _print_whole_lines()
        with ThreadPoolExecutor(4) as threads:
            threads.map(say, "abcd")
    """
    command = [sys.executable, "-u", "-c", code]
    shown = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    assert Counter(shown.splitlines()) == {word * 20: 2000 for word in "abcd"}


# ---- a rented machine ---------------------------------------------------------------


class Rented(Clone):
    """A machine with nothing but what git has, to run the commands of the SkyPilot task on."""

    def __init__(self, origin: Clone, folder: Path, **variables: str) -> None:
        self.folder, self.variables = folder, variables
        subprocess.run(["git", "clone", "--quiet", str(origin.folder), str(folder)], check=True)
        activate = folder / ".venv/bin/activate"  # what `setup` makes
        activate.parent.mkdir(parents=True)
        activate.touch()

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | self.variables


def pushed(entry: Path, remote: Path) -> bool:
    """Whether this entry of the run cache is of a cell that is in the remote as a whole."""
    content = yaml.safe_load(entry.read_text(encoding="utf-8")) if entry.is_file() else None
    if not content or "stages/train.py" not in content["cmd"]:
        return False
    hashes = [out["md5"] for out in content["outs"]]
    # A folder's list comes after what it lists.
    return all((remote / "files/md5" / md5[:2] / md5[2:]).exists() for md5 in hashes)


class SkyTask:
    """The SkyPilot task, for an untrained study whose remote has what comes before training."""

    def __init__(self, untrained: Untrained, folder: Path) -> None:
        task = yaml.safe_load((ROOT / "cluster/study.sky.yaml").read_text(encoding="utf-8"))
        self.home, self.folder, self.command = untrained, folder, ("bash", "-c", task["run"])
        self.remote, bucket = folder / "remote", folder / "bucket"
        assert task["envs"]["SHOTCOUNT_UNFINISHED"] in task["file_mounts"]
        own = {"SHARE": "0", "PUSH_SECONDS": "1", "SHOTCOUNT_UNFINISHED": str(bucket)}
        self.variables = {name: str(value) for name, value in (task["envs"] | own).items()}
        untrained.one_strategy()
        untrained.run("dvc", "remote", "add", "--default", "storage", str(self.remote))
        untrained.run("dvc", "push")
        untrained.commit()

    def rent(self, name: str, **variables: str) -> Rented:
        return Rented(self.home, self.folder / name, **(self.variables | variables))

    def go_on(self, machine: Rented, study: Clone) -> int:
        """Run the rest of the study, and pull it; return how many cells were there already."""
        shown = machine.run(*self.command)
        kept = re.search(r"^train: (\d) stages were in the run cache$", shown, re.M)
        assert kept, shown
        assert len(recorded(shown)) == 7 - int(kept[1])
        assert made(machine, *FROZEN) == made(study, *FROZEN)
        assert "up to date" in machine.run("dvc", "status")

        # At home: everything comes from the remote, but for what git keeps.
        self.home.run("dvc", "pull", "--run-cache", "--allow-missing")
        assert self.home.repro("--pull") == ["params", "plot"]
        return int(kept[1])


@pytest.fixture
def task(untrained: Untrained, tmp_path: Path) -> SkyTask:
    return SkyTask(untrained, tmp_path)


@pytest.mark.slow
def test_a_rented_machine_runs_what_is_not_in_the_remote(study: Clone, task: SkyTask) -> None:
    task.home.repro("train@frozen-0.5-1", "train@frozen-0.5-3", "train_grid")
    task.home.run("dvc", "push", "--run-cache")
    task.home.run("git", "checkout", "--quiet", "dvc.lock")
    assert task.go_on(task.rent("a machine", PUSH_SECONDS="5"), study) == 3


@pytest.mark.slow
def test_a_machine_that_is_taken_away_costs_no_finished_cell(study: Clone, task: SkyTask) -> None:
    first = task.rent("the first machine")
    process = first.start(*task.command)
    read_until(process, r"^\[1/5\]")
    entries = task.remote.glob
    wait_for(lambda: any(pushed(each, task.remote) for each in entries("runs/*/*/*")), process)
    started = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGKILL)
    kill(started)
    process.communicate()
    shutil.rmtree(first.folder)
    assert task.go_on(task.rent("the second machine"), study) >= 1
