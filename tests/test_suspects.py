"""Labels that may be wrong, found in predictions that are made up."""

import numpy as np
import pandas as pd
import pytest
from holdout import Collection
from suspects import row

from shotcount.scoring.predictions import probability
from shotcount.scoring.suspects import PICTURED, SUSPECTS, find_suspects, with_paths

LABELS = ["glass", "metal", "paper"]


def predict(shown: dict[str, list[str]], seeds: int = 2, noise: float = 0.05) -> pd.DataFrame:
    """Predict what each photo of each sample shows; a sample's name begins with its label."""
    rng, rows = np.random.default_rng(0), []
    photos = [(sample, what) for sample, own in shown.items() for what in own]
    for seed in range(seeds):
        for photo, (sample, what) in enumerate(photos):
            sure = 0.9 - rng.uniform(0, noise)
            p = {probability(c): sure if c == what else (1 - sure) / 2 for c in LABELS}
            label = sample.partition("/")[0]
            rows.append({"seed": seed, "photo": photo, "sample": sample, "label": label} | p)
    return pd.DataFrame(rows)


def right(samples: int = 20, photos: int = 3) -> dict[str, list[str]]:
    return {f"{c}/{n}": [c] * photos for c in LABELS for n in range(samples)}


def test_planted_wrong_labels_are_found_and_nothing_else() -> None:
    planted = {"glass/3": "metal", "metal/8": "paper", "paper/0": "glass", "paper/9": "metal"}
    shown = right() | {sample: [what] * 3 for sample, what in planted.items()}
    found = find_suspects(predict(shown), LABELS)
    assert dict(zip(found["sample"], found["suggested"], strict=True)) == planted
    assert list(found["label"]) == [sample.partition("/")[0] for sample in found["sample"]]
    assert found["score"].is_monotonic_increasing
    assert (found["score"] < 0.1).all()


def test_photos_of_a_sample_that_name_the_same_class_are_one_suspect() -> None:
    shown = right() | {
        "glass/0": ["paper"] * 3,
        "metal/0": ["metal", "paper", "metal"],
        "paper/0": ["glass", "paper", "glass"],
    }
    found = find_suspects(predict(shown, noise=0), LABELS).set_index("sample")["photos"]
    assert found.to_dict() == {"glass/0": (0, 1, 2), "metal/0": (61,), "paper/0": (120, 122)}


def test_probabilities_are_averaged_over_the_seeds_that_tested_a_photo() -> None:
    """With folds, a seed tests some of the photos."""
    table = predict(right() | {"glass/0": ["metal"] * 3}, noise=0)
    doubted = (table["seed"] == 1) & (table["sample"] == "glass/0")
    table.loc[doubted, list(map(probability, LABELS))] = [0.03, 0.96, 0.01]
    (score,) = find_suspects(table, LABELS)["score"]
    assert score == pytest.approx((0.05 + 0.03) / 2)
    (score,) = find_suspects(table[~doubted], LABELS)["score"]
    assert score == pytest.approx(0.05)


def test_the_order_of_rows_does_not_matter() -> None:
    table = predict(right() | {"glass/0": ["metal"] * 3, "paper/2": ["glass", "metal", "paper"]})
    shuffled = table.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(find_suspects(table, LABELS), find_suspects(shuffled, LABELS))


def test_without_a_suspect_the_table_is_empty() -> None:
    none = find_suspects(predict(right()), LABELS)
    assert none.empty
    assert set(with_paths(none, pd.Series(dtype="str")).columns) == set(SUSPECTS)


def test_the_table_has_the_paths_of_all_photos_and_pictures_of_the_first() -> None:
    wrong = {f"glass/{n}": ["metal"] * 2 for n in range(PICTURED + 1)}
    table = predict(right(40, photos=2) | wrong, noise=0)
    paths = pd.Series({photo: f"{photo}\n.jpg" for photo in table["photo"]})
    made = with_paths(find_suspects(table, LABELS), paths).astype(SUSPECTS)
    assert len(made) == PICTURED + 1
    assert set(made["photos"]) == {2}
    own = table[(table["sample"] == made["sample"][made.index[0]]) & (table["seed"] == 0)]
    assert made["paths"].iloc[0] == "\n".join(f"{photo}\\n.jpg" for photo in own["photo"])
    assert list(made["file"]) == [f"suspect{n}.webp" for n in range(PICTURED)] + [""]


def test_the_validation_finds_what_it_plants_where_features_tell_classes_apart() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(LABELS, 40)
    manifest = pd.DataFrame(
        {"photo": range(120), "label": labels, "given_split": "",
         "sample": [f"{label}/{n}" for n, label in enumerate(labels)]}
    )  # fmt: skip
    centres = np.eye(3)[np.repeat(range(3), 40)]
    features = (5 * centres + rng.normal(size=(120, 3))).astype(np.float32)
    draw, _, planted, first, found, *_ = row(Collection(manifest, features), 0)
    assert (draw, planted, first) == ("0", "6", "6")
    assert int(found) >= 5
