"""Stage demo: render the demo collection to data/demo.

DVC deletes a stage's output before it runs the stage, so the photos are rendered into a folder
beside it, which an interrupted run leaves for the next one, and which takes the output's name last.
"""

import hashlib
import shutil
from pathlib import Path

from shotcount.demo import render_collection
from shotcount.errors import run_stage
from shotcount.params import load_params

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    demo = load_params(ROOT / "params.yaml").demo
    # Named by what it holds, so that photos of other parameters are never mixed in.
    key = hashlib.blake2b(repr(demo).encode()).hexdigest()[:12]
    unfinished, output = ROOT / "data" / f".demo-{key}", ROOT / "data" / "demo"
    render_collection(
        unfinished, samples=demo.samples, angles=demo.angles, size=demo.size, seed=demo.seed
    )
    if output.exists():  # only when run without DVC
        shutil.rmtree(output)
    unfinished.rename(output)


if __name__ == "__main__":  # the workers import this file anew
    run_stage(main)
