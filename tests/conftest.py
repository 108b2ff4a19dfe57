"""Small collections that tests make for themselves."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]

# No time limits, and the same examples on every run: a slow machine is no failure.
settings.register_profile(
    "shotcount", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("shotcount")


def make_photo(path: Path, rng: np.random.Generator, hue: float, size: tuple[int, int]) -> None:
    """Write a noisy photo of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = rng.integers(0, 60, (size[1], size[0], 3))
    colour = np.array([255 * hue, 120, 255 * (1 - hue)])
    pixels = np.clip(colour + noise - 30, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path)


def make_collection(root: Path, samples: int = 12, angles: int = 4) -> Path:
    """Write `samples` samples of each of two classes that colour tells apart."""
    rng = np.random.default_rng(0)
    for label, hue in (("blue", 0.1), ("red", 0.9)):
        for sample in range(samples):
            for angle in range(angles):
                make_photo(root / label / f"{sample:02d}" / f"{angle}.png", rng, hue, (40, 36))
    return root


def make_manifest(samples: dict[str, int], angles: int = 4) -> pd.DataFrame:
    """Return a manifest of so many samples a class, without photos."""
    rows = [
        {"label": label, "sample": f"{label}/{n}", "angle": str(angle), "given_split": ""}
        for label, count in samples.items()
        for n in range(count)
        for angle in range(angles)
    ]
    table = pd.DataFrame(rows)
    return table.assign(
        photo=range(len(table)),
        path=table["sample"] + "/" + table["angle"] + ".jpg",
        width=32,
        height=32,
        sha256="",
    )


@pytest.fixture
def params_text() -> str:
    return (ROOT / "params.yaml").read_text(encoding="utf-8")
