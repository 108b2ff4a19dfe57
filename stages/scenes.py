"""Scenes of beach finds with boxes, rendered → data/scenes."""

import os
from pathlib import Path

from shotcount.core import files
from shotcount.core.params import load_params
from shotcount.core.stage import run_stage
from shotcount.scenes.collection import render_scenes
from shotcount.scenes.settings import ScenesParams

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    params = load_params(Path("params.yaml"), ScenesParams).scenes
    with files.workspace("scenes", params) as work:
        render_scenes(
            work, scenes=params.scenes, angles=params.angles, size=params.size, seed=params.seed
        )
        files.publish(work / "scenes", Path("data/scenes"))


if __name__ == "__main__":  # the workers import this file again
    os.chdir(ROOT)  # DVC runs this stage in data/, where its dvc.yaml is
    run_stage(main)
