"""Stage demo: render the demo collection to data/demo."""

import os
from pathlib import Path

from shotcount import files
from shotcount.demo import render_collection
from shotcount.errors import run_stage
from shotcount.params import load_params

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    os.chdir(ROOT)  # from data/, where this stage's dvc.yaml is
    demo = load_params(Path("params.yaml")).demo
    with files.workspace("demo", demo) as work:
        render_collection(
            work / "demo", samples=demo.samples, angles=demo.angles, size=demo.size, seed=demo.seed
        )
        files.publish(work / "demo", Path("data/demo"))


if __name__ == "__main__":  # the workers import this file anew
    run_stage(main)
