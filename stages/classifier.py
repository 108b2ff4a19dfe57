"""The model to use, of those trained on the largest subset → data/classifier."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.torch import load_file

from shotcount import card, classifier, files, tables
from shotcount.params import load_params
from shotcount.running import run_stage
from shotcount.seeds import seed_for
from shotcount.splits import cell_name, take_subset
from shotcount.training import STRATEGIES

BACKBONE, MANIFEST = Path("data/backbone.safetensors"), Path("data/manifest")


def main() -> None:
    params = load_params(Path("params.yaml"))
    models = {}
    for strategy in params.study.strategies:
        for size in product(params.study.samples, params.study.angles):
            folder = Path("data/models", strategy, cell_name(*size))
            models[folder] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    most = max((model["photos"], model["samples"]) for model in models.values())
    largest = {
        model["strategy"]: folder
        for folder, model in models.items()
        if (model["photos"], model["samples"]) == most
    }
    history = pd.concat(
        tables.read(folder / "history.csv", tables.METRICS["history"])
        for folder in largest.values()
    )
    chosen, seed = classifier.choose(history)
    model = models[largest[chosen]]
    del model["seeds"]
    model |= {"seed": seed, "manifest_sha256": files.sha256(tables.table_file(MANIFEST))}
    trained = load_file(largest[chosen] / f"seed{seed}.safetensors")
    backbone = load_file(BACKBONE) if STRATEGIES[chosen].cached else None

    test = classifier.tested(Path("data/evaluation"), model)
    rng = np.random.default_rng(seed_for("classifier", params.study.seed))
    figures = card.measure(test, model["classes"], params.answer.replicates, rng)
    subsets = tables.read(Path("data/subsets"), tables.SUBSETS)
    train = take_subset(subsets[subsets["seed"] == seed], model["samples"], model["angles"])
    parts = {
        "training": train,
        "validation": tables.read(Path("data/splits/val"), tables.SPLIT),
        "test": test,
    }
    settings = getattr(params.train, chosen).model_dump()
    with files.atomic(Path("data/classifier")) as out:
        model = classifier.save(out, classifier.join(trained, backbone), model)
        text = card.write(model, figures, parts, history, settings)
        files.write_text(out / "README.md", text)
    print(f"{chosen}, seed {seed}: lowest validation loss of the models on {most[0]:,} photos")


if __name__ == "__main__":
    run_stage(main)
