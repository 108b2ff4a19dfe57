"""Check the whole params.yaml, so that a mistake stops the study before any work is done.

The other stages read only the sections that they use.
"""

from pathlib import Path

from shotcount.core.params import load_params
from shotcount.core.stage import run_stage
from shotcount.params import Params


def main() -> None:
    load_params(Path("params.yaml"), Params)


if __name__ == "__main__":
    run_stage(main)
