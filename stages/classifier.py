"""Choose one of the models trained on the largest subset, by validation loss → data/classifier."""

import json
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field
from safetensors.torch import load_file

from shotcount.classifier import card, figures, keep
from shotcount.core import files, tables
from shotcount.core.params import Fit, Part, load_params
from shotcount.core.seeds import seed_for
from shotcount.core.stage import run_stage
from shotcount.core.study import StudyParams, cell_name, take_subset

BACKBONE, MANIFEST = Path("data/backbone.safetensors"), Path("data/manifest")


class AnswerPart(Part):
    replicates: Annotated[int, Field(ge=100)]


class DataPart(Part):
    fit: Fit
    pattern: str | None
    table: str | None


class Params(StudyParams):
    data: DataPart
    answer: AnswerPart


def main() -> None:
    params = load_params(Path("params.yaml"), Params)
    study = params.study
    folders = [
        Path("data/models", strategy, cell_name(samples, angles))
        for strategy, samples, angles in product(study.strategies, study.samples, study.angles)
    ]
    every = (tables.read(f / "history.csv", tables.HISTORY).assign(folder=f) for f in folders)
    history = tables.largest_cell(pd.concat(every))
    strategy, seed = keep.choose(history)
    folder = history.loc[history["strategy"] == strategy, "folder"].iloc[0]
    model = json.loads((folder / "model.json").read_bytes())
    model |= {"seed": seed, "samples_seen": model["samples_seen"][seed], "fit": params.data.fit}
    del model["seeds"]
    model["layout"] = params.data.model_dump(exclude={"fit"})  # for predict --by-sample
    model["manifest_sha256"] = files.sha256(tables.table_file(MANIFEST))

    test = tables.of_seed(keep.read_cell(Path("data/evaluation"), model), seed)
    rng = np.random.default_rng(seed_for("classifier", study.seed))
    measured = figures.measure(test, model["classes"], params.answer.replicates, rng)
    subsets = tables.read(Path("data/subsets"), tables.SUBSETS)
    val = tables.read(Path("data/splits/val"), tables.SPLIT)
    parts = {
        "training": take_subset(tables.of_seed(subsets, seed), model["samples"], model["angles"]),
        "validation": tables.of_seed(val, seed),
        "test": test,
    }
    trained = load_file(folder / f"seed{seed}.safetensors")
    with files.atomic(Path("data/classifier")) as out:
        model = keep.save(out, keep.join(trained, partial(load_file, BACKBONE)), model)
        files.write_text(out / "README.md", card.write(model, measured, parts, history))
    print(
        f"{strategy}, seed {seed}: lowest validation loss of the models on "
        f"{model['photos']:,} photos"
    )


if __name__ == "__main__":
    run_stage(main)
