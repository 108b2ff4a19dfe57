"""The demo collection, rendered → data/demo."""

import os
from pathlib import Path

from shotcount.core import files
from shotcount.core.params import load_params
from shotcount.core.stage import run_stage
from shotcount.demo.rendering import render_collection
from shotcount.demo.settings import DemoParams
from shotcount.scenes.collection import render_scenes

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    demo = load_params(Path("params.yaml"), DemoParams).demo
    sizes = demo.model_dump(exclude={"shows"})
    with files.workspace("demo", demo) as work:
        if demo.shows == "scenes":
            render_scenes(work, **sizes)
        else:
            render_collection(work / "demo", **sizes)
        files.publish(work / "demo", Path("data/demo"))


if __name__ == "__main__":  # the workers import this file again
    os.chdir(ROOT)  # DVC runs this stage in data/, where its dvc.yaml is
    run_stage(main)
