"""Join the network that is trained on all samples with its model card → data/classifier."""

from functools import partial
from pathlib import Path

import numpy as np
from safetensors.torch import load_file

from shotcount.classifier import card, detector_card, detector_figures, figures, keep
from shotcount.core import files, tables
from shotcount.core.params import load_params, resolve_fit
from shotcount.core.seeds import seed_for
from shotcount.core.stage import run_stage
from shotcount.scoring.matching import match

REFIT, MANIFEST, EVALUATION = Path("data/refit"), Path("data/manifest"), Path("data/evaluation")


def main() -> None:
    params = load_params(Path("params.yaml"), keep.KeepParams)
    boxes = tables.read(Path("data/boxes"), tables.BOXES)
    detection = tables.is_detection(boxes)
    model = files.read_json(REFIT / "model.json")
    if detection:
        model |= {"task": "detect", "confidence": keep.read_confidence(EVALUATION, model)}
    model["fit"] = resolve_fit(params.data.fit, detection)
    model["layout"] = params.data.model_dump(exclude={"fit"})  # for predict --by-sample
    model["manifest_sha256"] = files.sha256(tables.table_file(MANIFEST))
    choice = tables.read(REFIT / "choice.csv", tables.HISTORY)
    run, replicates = keep.read_cell(EVALUATION, model), params.answer.replicates
    # As the report draws it, so that both give the same interval.
    rng = np.random.default_rng(seed_for("answer", params.study.seed))
    trained = load_file(REFIT / "weights.safetensors")
    backbone = partial(load_file, Path("data/backbone.safetensors"))
    with files.atomic(Path("data/classifier")) as out:
        model = keep.save(out, keep.join(trained, backbone), model)
        if detection:
            matches = match(run, boxes, keep.read_tested(EVALUATION, model), model["classes"])
            found = detector_figures.measure(matches, model["confidence"], replicates, rng)
            text = detector_card.write(model, found, choice)
        else:
            measured = figures.measure(run, model["classes"], replicates, rng)
            text = card.write(model, measured, run, choice)
        files.write_text(out / "README.md", text)


if __name__ == "__main__":
    run_stage(main)
