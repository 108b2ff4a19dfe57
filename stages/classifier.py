"""Join the network that is trained on all samples with its model card → data/classifier."""

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from safetensors.torch import load_file

from shotcount.classifier import card, figures, keep
from shotcount.core import files, tables
from shotcount.core.params import Fit, Part, Sections, Seed, load_params, resolve_fit
from shotcount.core.seeds import seed_for
from shotcount.core.stage import run_stage

REFIT, MANIFEST = Path("data/refit"), Path("data/manifest")


class AnswerPart(Part):
    replicates: Annotated[int, Field(ge=100)]


class DataPart(Part):
    fit: Fit | Literal["auto"]
    pattern: str | None
    table: str | None


class StudyPart(Part):
    seed: Seed


class Params(Sections):
    data: DataPart
    study: StudyPart
    answer: AnswerPart


def main() -> None:
    params = load_params(Path("params.yaml"), Params)
    model = json.loads((REFIT / "model.json").read_text(encoding="utf-8"))
    model["fit"] = resolve_fit(params.data.fit, detection=False)
    model["layout"] = params.data.model_dump(exclude={"fit"})  # for predict --by-sample
    model["manifest_sha256"] = files.sha256(tables.table_file(MANIFEST))
    choice = tables.read(REFIT / "choice.csv", tables.HISTORY)
    tested = keep.read_cell(Path("data/evaluation"), model)
    # As the report draws it, so that both give the same interval.
    rng = np.random.default_rng(seed_for("answer", params.study.seed))
    place = list(choice["strategy"].unique()).index(model["strategy"])
    measured = figures.measure(tested, model["classes"], place, params.answer.replicates, rng)
    trained = load_file(REFIT / "weights.safetensors")
    state = keep.join(trained, partial(load_file, Path("data/backbone.safetensors")))
    with files.atomic(Path("data/classifier")) as out:
        model = keep.save(out, state, model)
        files.write_text(out / "README.md", card.write(model, measured, tested, choice))


if __name__ == "__main__":
    run_stage(main)
