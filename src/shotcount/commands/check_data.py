"""shotcount check-data: how a study would read the photos, and what would stop it."""

import argparse
import heapq
import io
import os
import sys
from collections.abc import Iterable
from contextlib import nullcontext, redirect_stderr
from pathlib import Path
from tempfile import TemporaryDirectory

import imagehash
import numpy as np
import pandas as pd
from cleanvision.dataset.base_dataset import Dataset
from cleanvision.issue_managers.image_property_issue_manager import ImagePropertyIssueManager
from PIL import Image

from shotcount.boxes.finding import look_for
from shotcount.commands import check_boxes
from shotcount.commands.listing import SHOWN, parts_of_split, some
from shotcount.core.errors import UserError, printable
from shotcount.core.params import load_params, resolve_fit
from shotcount.core.progress import watch
from shotcount.params import Params
from shotcount.photos import decoding, finding, preparing, reading, walking
from shotcount.sampling import sizes, splits

LOOK = 64  # px: enough for a hash of 8 x 8 frequencies
WHOLE = 1024  # px of the longer side: enough for brightness, contrast and blur
ALIKE = 4  # bits: hashes that differ in at most so many of their 64 bits look alike
LOOKS = {  # cleanvision's issues
    "dark": "very dark",
    "light": "very bright",
    "blurry": "blurred",
    "low_information": "almost empty",
}


def run(given: argparse.Namespace) -> int:
    """Print how the photos are read; raise UserError if something has to be mended first."""
    file = Path("params.yaml")
    params = None  # with boxes, none is needed
    if given.folder is None or file.exists():
        params = load_params(file, Params)
    root = given.folder or Path(params.data.path if params else "")
    task = given.task or (params.data.task if params else "auto")
    if task != "classify":
        there = look_for(root)
        if there.forms or task == "detect":
            return check_boxes.run(root, there, params, given.px, given.draw)
    for option in ("px", "draw"):
        if getattr(given, option) is not None:
            raise UserError(f"--{option} is for photos with boxes, and {root} is read without: "
                            "leave it out, or put the annotations among the photos")  # fmt: skip
    params = params or load_params(file, Params)
    data = params.data.model_copy(update={"path": str(root)})
    lines, problems = survey(params.model_copy(update={"data": data}))
    print("\n".join(lines))
    if problems:
        raise UserError("\n       ".join(["this would stop the study:", *problems]))
    print("\nNothing would stop the study.")
    return 0


def survey(params: Params) -> tuple[list[str], list[str]]:
    """Read a collection as the study would, without saving anything.

    Returns
    -------
    lines : list of str
        Facts about the collection, to be printed.
    problems : list of str
        What would stop the study, each with how to mend it.

    Raises
    ------
    UserError
        If data.path, data.pattern or data.table can't be used at all.
    """
    data, root = params.data, Path(params.data.path)
    everything = walking.list_photos(root)
    found = finding.find_photos(root, data.pattern, data.table)
    fit = resolve_fit(data.fit, detection=False)
    with TemporaryDirectory() as work:
        watched = watch(
            decoding.decode(root, found, LOOK, fit, Path(work)), "reading", len(found), "photo"
        )
        manifest, left_out = preparing.judge(found, list(watched), "skip")
        decoded = np.memmap(Path(work, "pixels"), np.uint8, mode="r").reshape(-1, LOOK, LOOK, 3)
        alike = _look_alikes(decoded[manifest["place"]], manifest)
    lines = [*_reading(root, everything, found), *_balance(manifest)]
    problems: list[str] = []
    if len(left_out) and data.on_bad_photo == "error":
        problems.append(
            f"{len(left_out)} photos can't be used (above): mend or remove them, or set "
            "data.on_bad_photo: skip"
        )
    try:
        preparing.check_classes(manifest)
        parts = splits.split_samples(manifest, params.split, params.study.draws)
        lines += parts_of_split(parts)
        sizes.check_sizes(parts["train"], params.study)
    except UserError as error:
        problems.append(str(error))
    size = data.size if isinstance(data.size, int) else reading.SMALLEST
    left_out = pd.concat([left_out, preparing.other_files(root)])
    remarks = preparing.remarks(manifest, left_out, size, fit)
    remarks += [*preparing.imbalance(manifest), *alike, *_looks(root, manifest)]
    return [*lines, "", "worth a look:", *(f"  {r}" for r in remarks or ["nothing"])], problems


def _reading(root: Path, everything: list[str], found: pd.DataFrame) -> list[str]:
    angles = found.groupby("sample").size()
    lines = [
        f"{root}: {len(found):,} photos in {found['label'].nunique()} classes, "
        f"{len(angles):,} samples, photos of each: {_span(angles)}",
        "",
        "read as:",
    ]
    examples = found.groupby("label").head(1)
    for row in (
        pd.concat([examples, found.iloc[1:2]]).drop_duplicates("path").head(SHOWN).itertuples()
    ):
        name = row.sample.removeprefix(f"{row.label}/")
        lines.append(
            printable(f"  {row.path} → class {row.label}, sample {name}")
            + (printable(f", angle {row.angle}") if row.angle else "")
            + (printable(f", split {row.given_split}") if row.given_split else "")
        )
    ignored = sorted(set(everything) - set(found["path"]), key=walking.natural)
    if ignored:
        lines += ["", f"not part of the collection: {some(ignored)}"]
    return lines


def _balance(manifest: pd.DataFrame) -> list[str]:
    lines = ["", "class: samples, photos, angles of each sample"]
    for label, own in manifest.groupby("label"):
        angles = own.groupby("sample").size()
        lines.append(printable(f"  {label}: {len(angles):,}, {len(own):,}, {_span(angles)}"))
    shapes = manifest.groupby(["width", "height"]).size().sort_values(ascending=False)
    sizes = [f"{width} × {height} px ({count:,})" for (width, height), count in shapes.items()]
    return [*lines, "", f"sizes: {some(sizes)}"]


class _Whole(Dataset):
    """Photos below `root` for cleanvision, read as in the study."""

    def __init__(self, root: Path, paths: Iterable[str]) -> None:
        super().__init__()
        self.root, self.index = root, list(paths)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, path: str | int) -> Image.Image:
        return reading.read_whole((self.root / str(path)).read_bytes(), WHOLE)

    def __reduce__(self) -> tuple[type, tuple[Path, tuple[()]]]:
        return _Whole, (self.root, ())  # cleanvision sends the dataset along with every photo


def _looks(root: Path, manifest: pd.DataFrame) -> list[str]:
    """List photos with issues, as found by cleanvision with its default thresholds."""
    manager = ImagePropertyIssueManager()
    # Show its progress bars in a terminal only.
    with nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO()):
        manager.find_issues(
            params={kind: {} for kind in LOOKS},
            dataset=_Whole(root, manifest["path"]),
            imagelab_info={},
            n_jobs=os.cpu_count(),
            verbose=False,
        )
    said = []
    for kind, words in LOOKS.items():
        marked = manager.issues.index[manager.issues[f"is_{kind}_issue"]]
        if len(marked):
            said.append(f"{words}: {some(marked)}")
    return said


def _look_alikes(pixels: np.ndarray, manifest: pd.DataFrame) -> list[str]:
    """List photos of different samples with almost the same perceptual hash."""
    hashes = np.stack([imagehash.phash(Image.fromarray(x)).hash.ravel() for x in pixels])
    words = np.packbits(hashes, axis=1).view(np.uint64).ravel()  # 64 bits a photo
    samples = manifest["sample"].to_numpy()
    count, closest = 0, []  # not all pairs: empty photos would make millions
    for first in range(len(words)):
        apart = np.bitwise_count(words[first + 1 :] ^ words[first])
        found = np.flatnonzero((apart <= ALIKE) & (samples[first + 1 :] != samples[first]))
        count += len(found)
        closest += [(int(apart[n]), first, first + 1 + int(n)) for n in found]
        closest = heapq.nsmallest(SHOWN, closest)
    if not count:
        return []
    shown = [" ~ ".join(manifest["path"].iloc[[a, b]]) for _, a, b in closest]
    return [f"different samples that look alike, or one photographed twice: {some(shown, count)}"]


def _span(counts: pd.Series) -> str:
    low, high = counts.min(), counts.max()
    return f"{low}" if low == high else f"{low} to {high}"
