import io
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import make_classifier
from PIL import Image

from shotcount.classifier import keep
from shotcount.commands import export
from shotcount.core.errors import UserError
from shotcount.core.params import Fit
from shotcount.photos.reading import read_photo

CPU = torch.device("cpu")


def png(photo: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("height", "width"),
    [
        (32, 32),
        (64, 64),
        (240, 321),
        (321, 240),
        (33, 47),
        (20, 31),
        (31, 20),
        (40, 400),
        (900, 35),
    ],
)
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_photos_become_squares_as_in_training(height: int, width: int, fit: Fit) -> None:
    photo = export.draw_photo(height, width, seed=0)
    expected = read_photo(png(photo), 32, fit).pixels
    got = export.FitSquare(32, fit)(torch.from_numpy(photo)[None])[0].permute(1, 2, 0).numpy()
    off = np.abs(got - np.asarray(expected, dtype=float))
    assert off.max() <= 1  # grey level
    tall = 0.1 if fit != "stretch" else 0.25  # Pillow may take rows first
    assert (off > 0).mean() < (tall if height > width else 0.01)
    if (height, width) == (32, 32):
        assert off.max() == 0


@pytest.mark.parametrize(
    ("network", "size", "fit"),
    [
        ("test_resnet", 32, "pad"),
        ("tf_efficientnet_lite0@blocks.4", 32, "crop"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("tf_efficientnet_lite0", 32, "pad"),
                ("resnet18", 32, "crop"),
                ("resnet18", 32, "pad"),
                ("googlenet", 64, "crop"),
                ("inception_v3", 96, "crop"),
            )
        ),
        ("test_vit", 160, "crop"),
    ],
)
def test_an_exported_network_gives_the_originals_probabilities(
    tmp_path: Path, network: str, size: int, fit: Fit
) -> None:
    folder = make_classifier(tmp_path / "made", network, size, ["a", 'b "ü"', "c\n"], fit)
    original, model = keep.load(folder, CPU)
    exported = export.to_onnx(original, model)
    same, resampled = export.differences(exported, original, size, model["fit"])
    assert same <= export.SAME_PIXELS
    assert resampled <= export.RESAMPLED

    # By another way than the command's own check: any number of photos of any size at once.
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    [entry], [output] = session.get_inputs(), session.get_outputs()
    assert (entry.name, entry.type) == ("photos", "tensor(uint8)")
    assert entry.shape == ["batch", "height", "width", 3]
    assert (output.name, output.shape[1]) == ("probabilities", 3)
    for count, height, width in [(1, size, size), (5, size, size), (2, 300, 401), (3, 450, 350)]:
        photos = np.stack([export.draw_photo(height, width, seed + 9) for seed in range(count)])
        got = session.run(None, {"photos": photos})[0]
        squares = [read_photo(png(photo), size, fit).pixels for photo in photos]
        with torch.inference_mode():
            logits = original(torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2))
        tolerance = export.SAME_PIXELS if height == width else export.RESAMPLED
        assert got == pytest.approx(logits.softmax(dim=1).numpy(), abs=tolerance)
        assert got.sum(axis=1) == pytest.approx(1, abs=1e-5)
        if count == 5:
            assert got.std(axis=0).max() > 0.01, "photos that all get the same would show nothing"

    notes = {p.key: json.loads(p.value) for p in onnx.load_from_string(exported).metadata_props}
    assert notes["classes"] == ["a", 'b "ü"', "c\n"]
    assert notes["model"]["network"] == network
    assert "samples_seen" not in notes["model"]


def test_an_export_has_the_same_bytes_each_time_and_no_path_of_this_machine(tmp_path: Path) -> None:
    folder = make_classifier(tmp_path / "made", "test_resnet", 32, ["a", "b"])
    exported = [export.to_onnx(*keep.load(folder, CPU)) for _ in range(2)]
    assert exported[0] == exported[1]
    for place in (str(Path.home()), str(Path(torch.__file__).parent), "site-packages", ".py"):
        assert place.encode() not in exported[0]


def test_another_networks_export_is_refused(tmp_path: Path) -> None:
    first, model = keep.load(make_classifier(tmp_path / "a", "test_resnet", 32, ["a", "b"]), CPU)
    other, _ = keep.load(make_classifier(tmp_path / "b", "test_resnet", 32, ["a", "b"]), CPU)
    with torch.no_grad():
        other.head.bias += torch.tensor([0.01, 0.0])
    exported = export.to_onnx(first, model)
    export.differences(exported, first, 32, "crop")
    with pytest.raises(UserError, match="nothing was written"):
        export.differences(exported, other, 32, "crop")
    with torch.no_grad():
        other.head.bias.fill_(float("nan"))
    with pytest.raises(UserError, match="differ from the original's by nan"):
        export.differences(exported, other, 32, "crop")
