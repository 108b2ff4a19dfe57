import io
import json

import numpy as np
import pandas as pd
import pytest
import torch
from captum.attr import LayerGradientXActivation
from conftest import Clone
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from shotcount.classifier import explain, gallery, keep
from shotcount.core import tables
from shotcount.core.pixels import Pixels
from shotcount.networks.backbones import build_backbone
from shotcount.networks.devices import seeded
from shotcount.networks.heads import Network
from shotcount.scoring.mistakes import MISTAKES, find_mistakes
from shotcount.scoring.suspects import SUSPECTS, find_suspects

# ---- which mistakes -----------------------------------------------------------------


def predictions(p_red: list[float], labels: list[str], samples: list[str]) -> pd.DataFrame:
    p = np.array(p_red)
    columns = {"seed": 0, "photo": range(len(p)), "sample": samples, "label": labels}
    return pd.DataFrame(columns | {"p(blue)": 1 - p, "p(red)": p})


def test_mistakes_are_the_most_confident_ones_one_a_sample() -> None:
    table = predictions(
        [0.9, 0.2, 0.6, 0.7, 0.01],
        ["blue", "red", "blue", "blue", "blue"],
        ["b/1", "r/1", "b/1", "b/2", "b/3"],
    )
    wrong = find_mistakes(table, ["blue", "red"])
    assert list(wrong["photo"]) == [0, 1, 3]
    assert list(wrong["predicted"]) == ["red", "blue", "red"]
    assert list(wrong["actual"]) == ["blue", "red", "blue"]
    assert list(wrong["confidence"]) == pytest.approx([0.9, 0.8, 0.7])


def test_of_two_networks_that_err_on_a_photo_the_surer_one_is_shown() -> None:
    one, other = (
        predictions([p, 0.8], ["blue", "blue"], ["b/1", "b/2"]).assign(seed=seed)
        for seed, p in ((3, 0.6), (7, 0.9))
    )
    wrong = find_mistakes(pd.concat([one, other]), ["blue", "red"])
    assert list(zip(wrong["seed"], wrong["photo"], strict=True)) == [(7, 0), (3, 1)]


def test_each_mistake_is_explained_by_the_network_that_made_it() -> None:
    networks = {2: untrained("resnet18"), 5: untrained("mobilenet_v3_small")}
    photos = np.random.default_rng(0).integers(0, 256, (3, 80, 80, 3), dtype=np.uint8)
    wrong = pd.DataFrame({"seed": [5, 2, 5], "predicted": ["b", "a", "c"]})
    cpu = torch.device("cpu")
    heat = explain.explain_mistakes(wrong, photos, ["a", "b", "c"], networks.__getitem__, cpu)
    x = torch.from_numpy(photos).permute(0, 3, 1, 2).float()
    for row, (seed, target) in enumerate(((5, 1), (2, 0), (5, 2))):
        (alone,) = explain.layer_cam(networks[seed], x[row : row + 1], torch.tensor([target]))
        assert heat[row] == pytest.approx(alone, abs=1e-4)
    assert explain.explain_mistakes(wrong[:0], photos[:0], ["a"], networks.__getitem__, cpu) == {}


def test_no_more_mistakes_than_a_page_holds() -> None:
    table = predictions([0.9] * 40, ["blue"] * 40, [f"b/{n}" for n in range(40)])
    assert list(find_mistakes(table, ["blue", "red"])["photo"]) == list(range(12))
    assert find_mistakes(predictions([0.1], ["blue"], ["b/1"]), ["blue", "red"]).empty


# ---- where a network looked ---------------------------------------------------------


def untrained(name: str) -> Network:
    with seeded(0):
        backbone = build_backbone(name)
        network = Network(backbone, backbone.features, 3)
        nn.init.normal_(network.head.weight)
    return network.eval()


def noise(size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, size, size), generator=generator).float()


@pytest.mark.parametrize(
    ("name", "size", "map_size"),
    [
        ("resnet18", 80, 10),
        ("resnet18", 32, 8),
        ("resnet18", 12, 6),  # none is fine enough: the first
        ("googlenet", 80, 10),
        ("inception_v3", 107, 11),
        ("squeezenet1_1", 80, 9),
        ("mobilenet_v3_small", 80, 10),
        ("densenet121", 64, 8),  # changes its maps in place
        ("convnext_tiny", 64, 8),
        ("shufflenet_v2_x0_5", 64, 8),
        ("alexnet", 80, 9),
        ("swin_t", 64, 8),
        ("efficientnet_b0", 80, 10),
        ("tf_efficientnet_lite0", 80, 10),
        ("tf_efficientnet_lite0@blocks.4", 32, 8),
        ("swin_tiny_patch4_window7_224", 224, 7),  # channels last
        ("mobilevit_xxs", 64, 8),  # patches between its maps
    ],
)
def test_a_fine_feature_map_of_any_network_is_found(name: str, size: int, map_size: int) -> None:
    network, x = untrained(name), noise(size)
    heat = explain.layer_cam(network, x, torch.tensor([0, 2]))
    assert heat is not None
    assert heat.shape == (2, map_size, map_size)
    assert heat.dtype == np.float32
    assert heat.min() >= 0
    assert set(heat.max(axis=(1, 2)).round(5)) <= {0, 1}
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize(
    ("name", "size", "layer"),
    [  # layers that end with a ReLU: where their output is positive, captum's product is ours
        ("resnet18", 224, "layer4"),
        ("resnet18", 64, "layer2"),
        ("squeezenet1_1", 224, "classifier.2"),
        ("tf_efficientnet_lite0", 224, "bn2"),
    ],
)
def test_layer_cam_agrees_with_captum(name: str, size: int, layer: str) -> None:
    network, x, targets = untrained(name), noise(size), torch.tensor([1, 2])
    heat = explain.layer_cam(network, x, targets)
    module = network.get_submodule(f"backbone.network.{layer}")
    product = LayerGradientXActivation(network, module).attribute(x, targets)
    theirs = product.relu().sum(dim=1).detach()
    peaks = theirs.amax(dim=(1, 2), keepdim=True)
    assert heat == pytest.approx((theirs / peaks.clamp_min(1e-30)).numpy(), abs=1e-4)


def test_a_network_of_patches_has_no_feature_map() -> None:
    network = untrained("vit_tiny_patch16_224")
    assert explain.layer_cam(network, noise(224), torch.tensor([0, 1])) is None


def test_what_decides_lights_up() -> None:
    """A cue of 8 x 8 px anywhere on noise names the class; a small network learns to find it."""
    rng = np.random.default_rng(0)

    def draw(count: int) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
        photos = rng.integers(60, 190, (count, 32, 32, 3), dtype=np.uint8)
        classes, corners = rng.integers(0, 2, count), rng.integers(0, 4, (count, 2)) * 8
        for photo, label, (top, left) in zip(photos, classes, corners, strict=True):
            photo[top : top + 8, left : left + 8] = (255, 0, 0) if label else (0, 0, 255)
        return torch.from_numpy(photos).permute(0, 3, 1, 2).float(), torch.tensor(classes), corners

    with seeded(0):
        network = nn.Sequential(
            nn.BatchNorm2d(3), nn.Conv2d(3, 16, 5, 2, 2), nn.ReLU(inplace=True),
            nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU(inplace=True), nn.AdaptiveMaxPool2d(1),
            nn.Flatten(), nn.Linear(16, 2),
        )  # fmt: skip
        optimizer = torch.optim.Adam(network.parameters(), 0.01)
        for _ in range(60):
            x, y, _ = draw(64)
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x), y).backward()
            optimizer.step()
    x, y, corners = draw(100)
    network.eval()
    assert (network(x).argmax(dim=1) == y).float().mean() > 0.95
    heat = explain.layer_cam(network, x, y)
    assert heat is not None
    assert heat.shape == (100, 8, 8)
    peaks = np.stack(np.unravel_index(heat.reshape(100, -1).argmax(axis=1), (8, 8)), axis=1)
    inside = ((peaks * 4 >= corners - 4) & (peaks * 4 <= corners + 8)).all(axis=1)
    assert inside.mean() > 0.9
    # Asked for the other class, it points elsewhere.
    other = explain.layer_cam(network, x, 1 - y)
    assert (np.abs(other - heat).max(axis=(1, 2)) > 0.5).mean() > 0.9


def test_overlay_is_brightest_where_the_heat_is() -> None:
    photo = np.full((32, 32, 3), 128, np.uint8)
    shown = explain.overlay(photo, np.array([[0, 0], [0, 1]], np.float32)).astype(int)
    assert shown.shape == (32, 32, 3)
    assert shown[28:, 28:].mean() > 150 > 100 > shown[:4, :4].mean()


# ---- training photos ----------------------------------------------------------------


def training(classes: int, samples: int, angles: int) -> pd.DataFrame:
    rows = [
        {"label": f"c{c}", "sample": f"c{c}/{s}", "angle": str(a)}
        for c in range(classes) for s in range(samples) for a in range(angles)
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(photo=lambda t: range(len(t)), path="")


def test_contact_sheet_spreads_over_samples_and_angles() -> None:
    sheet = gallery.contact_sheet(training(classes=2, samples=12, angles=40))
    firsts = [views["sample"].iloc[0] for views in sheet[:6]]
    assert firsts == ["c0/0", "c0/2", "c0/4", "c0/6", "c0/8", "c0/10"]
    assert len(sheet) == 12
    assert list(sheet[0]["angle"]) == [str(a) for a in range(0, 40, 4)]


@pytest.mark.parametrize(("classes", "rows"), [(2, 12), (8, 24), (80, 24)])
def test_contact_sheet_stays_small(classes: int, rows: int) -> None:
    sheet = gallery.contact_sheet(training(classes, samples=20, angles=3))
    assert len(sheet) == rows
    assert {len(views) for views in sheet} == {3}
    assert all(views["sample"].nunique() == 1 for views in sheet)


def test_pictures_are_encoded_alike_each_time() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    picture = gallery.side_by_side([photo, gallery.scaled(photo, 40)])
    assert picture.shape == (40, 82, 3)
    encoded = gallery.encode(picture)
    assert encoded == gallery.encode(picture)
    assert Image.open(io.BytesIO(encoded)).size == (82, 40)


# ---- of a study ---------------------------------------------------------------------


def test_gallery_shows_mistakes_of_networks_that_had_not_seen_the_sample(study: Clone) -> None:
    _, model = keep.load(study.folder / "data/classifier", torch.device("cpu"))
    folder = study.folder / "data/models" / model["tested"]["folder"]
    seen = json.loads((folder / "model.json").read_text(encoding="utf-8"))["samples_seen"]
    wrong = study.table("data/gallery/mistakes.csv", MISTAKES)
    assert wrong["seed"].nunique() > 1, "as good as untrained, they err"
    manifest = study.table("data/manifest", tables.MANIFEST).set_index("photo")
    assert list(manifest["label"][wrong["photo"]]) == list(wrong["actual"])
    for seed, own in wrong.groupby("seed"):
        assert not set(manifest["sample"][own["photo"]]) & set(seen[seed])
        trained = load_file(folder / f"seed{seed}.safetensors")
        state = keep.join(trained, lambda: load_file(study.folder / "data/backbone.safetensors"))
        network = keep.build(model, state, torch.device("cpu"))
        pixels = Pixels.open(study.folder / "data/pixels")[own["photo"].to_numpy()]
        with torch.inference_mode():
            p = network(torch.from_numpy(pixels).permute(0, 3, 1, 2)).softmax(dim=1).numpy()
        assert [model["classes"][n] for n in p.argmax(axis=1)] == list(own["predicted"])
        assert p.max(axis=1) == pytest.approx(own["confidence"].to_numpy(), abs=1e-4)


def test_contact_sheet_holds_samples_of_each_class(study: Clone) -> None:
    sheet = study.table("data/gallery/samples.csv", tables.SHEET)
    assert set(sheet["sample"]) <= set(study.table("data/manifest", tables.MANIFEST)["sample"])
    assert set(sheet["label"]) == {"natural", "plastic"}
    for name in sheet["file"]:
        assert Image.open(study.folder / "data/gallery" / name).size == (3 * 66 - 2, 64)


def test_suspects_of_all_folds_are_listed_and_the_first_are_pictured(study: Clone) -> None:
    _, model = keep.load(study.folder / "data/classifier", torch.device("cpu"))
    predictions = keep.read_cell(study.folder / "data/evaluation", model)
    found = find_suspects(predictions, model["classes"])
    listed = study.table("data/suspects.csv", SUSPECTS)
    assert list(listed["sample"]) == list(found["sample"])
    assert list(listed["photos"]) == list(found["photos"].map(len))
    manifest = study.table("data/manifest", tables.MANIFEST).set_index("photo")
    assert set(predictions["photo"]) == set(manifest.index)
    for paths, photos in zip(listed["paths"], found["photos"], strict=True):
        assert paths.split("\n") == list(manifest["path"][list(photos)])
    pictures = {path.name for path in (study.folder / "data/gallery").glob("suspect*")}
    assert pictures == set(listed["file"].head(12))
