from pathlib import Path

import pytest

from shotcount.core.errors import UserError
from shotcount.core.params import load_params
from shotcount.params import Params
from shotcount.sampling.settings import SplitParams
from shotcount.training.settings import StepDecay


def load(folder: Path, text: str):
    path = folder / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return load_params(path, Params)


def test_shipped_params_are_valid(tmp_path: Path, params_text: str) -> None:
    params = load(tmp_path, params_text)
    assert params.study.strategies == ["scratch", "frozen", "finetune"]


def test_yaml_1_2_floats_and_a_step_schedule_are_read(tmp_path: Path, params_text: str) -> None:
    scratch, finetune = params_text.split("  finetune:")
    finetune = finetune.replace("learning_rate: auto", "learning_rate: 5e-4")
    scratch = scratch.replace("schedule: auto\n", "schedule: {every: 7, factor: 0.1}\n")
    text = f"{scratch}  finetune:{finetune}"
    params = load(tmp_path, text)
    assert params.train.finetune.learning_rate == 0.0005
    assert params.train.scratch.schedule == StepDecay(every=7, factor=0.1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  angle_order:", "  angel_order:", r"study.angel_order: unknown key; did you mean"),
        ("    flip: true", "    flipp: true", r"train.scratch.flipp: unknown key; .*'flip'"),
        ("learning_rate: auto", "learning_rate: fast", "scratch.learning_rate: expected"),
        ("learning_rate: auto", "learning_rate: -1", r"expected greater than 0.*, got -1 \("),
        ("backbone_rate: auto", "backbone_rate: 2", "finetune.backbone_rate: expected"),
        ("batch_size: 32", 'batch_size: "32"', "train.scratch.batch_size: expected .* got '32'"),
        ("schedule: auto\n", "schedule: cosin\n", "train.scratch.schedule: expected .*'cosine'"),
        ("strategies: [scratch,", "strategies: [scratched,", "strategies.0: expected 'scratch"),
        ("angles: [10, 3, 1]", "angles: [0, 10]", "study.angles.0: expected .* than or equal to 1"),
        ("angles: [10, 3, 1]", "angles: [10, 10]", "study: angles .* lists a value twice"),
        ("samples: [1.0]", "samples: [1.5]", "study.samples.0: expected"),
        ("angles: [1, 2, 3", "angles: [3, 2, 3", "frozen_grid: angles .* lists a value twice"),
        ("target_accuracy: auto", "target_accuracy: 83", "answer.target_accuracy: expected"),
        ("val: 0.15", "val: 0.8", "split: val and test together must stay below 1"),
        ("test: null", "test: 0.2", "split: set one of folds and test, and the other to null"),
        ("folds: 4", "folds: 2", "split.folds: expected .*greater than or equal to 3"),
        ("folds: 4", "folds: 3", r"train.scratch.seeds \(4\) is no multiple of split.folds \(3\)"),
        ("seeds: 8", "seeds: 12", r"train.frozen.seeds \(12\) exceeds study.draws \(8\)"),
        ("device: auto", "device: gpu", "device: expected 'auto', .*, got 'gpu'"),
        ("val: 0.15", "val: [0.1]", r"split.val: expected .*, got \[0.1\]"),
        ("samples: [1.0]", "samples: [[1]]", r"study.samples.0: expected"),
        ("precision: auto", "precision: half", "precision: expected 'auto', 'float32' or"),
        ("compile: false", "compile: 1", "compile: expected a valid boolean"),
        ("threads: 1 ", "threads: 0 ", "parallel.threads: expected"),
        ("networks: auto", "networks: all", "parallel.networks: expected .* got 'all'"),
        ("    seeds: 8\n", "    seeds: 8\n    epochs: 5\n", "train.frozen.epochs: unknown key"),
        ("init_head: frozen", "init_head: solved", "init_head: expected 'zeros' or 'frozen'"),
        ("schedule: auto\n", "schedule: [1]\n", r"train.scratch.schedule: expected"),
        ("schedule: auto\n", "schedule: {every: 7}\n", r"train.scratch.schedule.factor: missing"),
        ("device: auto", "", "device: missing; add it"),
        ("device: auto", "device: [", "not valid YAML"),
    ],
)  # fmt: skip
def test_wrong_value_is_named_with_its_key_and_mend(
    tmp_path: Path, params_text: str, old: str, new: str, message: str
) -> None:
    assert old in params_text
    with pytest.raises(UserError, match=message):
        load(tmp_path, params_text.replace(old, new, 1))


def test_message_gives_the_line(tmp_path: Path, params_text: str) -> None:
    text = params_text.replace("angle_order: spread", "angle_order: spred")
    line = next(i for i, row in enumerate(text.splitlines(), 1) if "spred" in row)
    with pytest.raises(UserError, match=rf"\(params.yaml line {line}\)"):
        load(tmp_path, text)


def test_all_faults_are_told_at_once(tmp_path: Path, params_text: str) -> None:
    text = params_text.replace("epochs: 100", "epochs: 0").replace("seed: 0", "seed: -1", 1)
    with pytest.raises(UserError) as error:
        load(tmp_path, text)
    assert "demo.seed" in str(error.value)
    assert "train.scratch.epochs" in str(error.value)


def test_a_stage_reads_its_own_sections_alone(tmp_path: Path, params_text: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(params_text.replace("epochs: 100", "epochs: 0"), encoding="utf-8")
    assert load_params(path, SplitParams).split.val == 0.15


def test_empty_and_absent_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing"):
        load(tmp_path, "")
    with pytest.raises(UserError, match=r"params\.yaml is missing from"):
        load_params(tmp_path / "elsewhere" / "params.yaml", Params)
