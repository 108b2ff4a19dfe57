"""The docs' pictures: made from any finished study, and committed with the study that they show."""

import hashlib
import shutil
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from conftest import ROOT, Clone, copy_of
from PIL import Image
from test_readme import committed

PICTURES = ROOT / "docs/pictures"
BROWSER = shutil.which("chromium") and shutil.which("chromedriver")


def rows(picture: Path) -> list[str]:
    return [row.text or "" for row in ET.parse(picture).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.skipif(not BROWSER, reason="needs Debian's packages chromium and chromium-driver")
def test_pictures_are_made_of_a_finished_study(study: Clone, tmp_path: Path) -> None:
    clone = copy_of(study, tmp_path / "a study")
    clone.run(sys.executable, "docs/pictures.py")
    typed, reads, *others = rows(clone.folder / "docs/pictures/init.svg")
    assert typed == "$ shotcount init photos"
    assert reads.startswith("photos: 54 photos, 2 classes")
    assert max(map(len, others)) <= 100
    with Image.open(clone.folder / "docs/pictures/report.png") as picture:
        assert picture.size == (1000, 900)
    assert clone.run("git", "status", "--porcelain", "--", ":!docs/pictures") == ""


def test_committed_pictures_are_small_and_of_the_committed_study() -> None:
    sizes = {path.name: path.stat().st_size for path in PICTURES.iterdir()}
    assert set(sizes) == {"init.svg", "report.png"}
    assert max(sizes.values()) <= 150_000
    assert "$ shotcount init photos" in rows(PICTURES / "init.svg")
    with Image.open(PICTURES / "report.png") as picture:
        shown = picture.info["study.md"]
    answer = committed("metrics/study.md")
    assert shown == hashlib.sha256(answer.encode()).hexdigest(), "run `make pictures`"
