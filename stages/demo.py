"""Stage demo: render the demo collection to data/demo."""

import os
from pathlib import Path

from shotcount import files
from shotcount.demo import render_collection
from shotcount.params import load_params
from shotcount.running import run_stage

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    demo = load_params(Path("params.yaml")).demo
    with files.workspace("demo", demo) as work:
        render_collection(
            work / "demo", samples=demo.samples, angles=demo.angles, size=demo.size, seed=demo.seed
        )
        files.publish(work / "demo", Path("data/demo"))


if __name__ == "__main__":  # the workers import this file anew
    os.chdir(ROOT)  # from data/, where this stage's dvc.yaml is
    run_stage(main)
