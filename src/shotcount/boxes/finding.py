"""Find which annotations lie among photos, read both, and look for faults."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from shotcount.boxes import annotations, coco, faults, pixels, voc, yolo
from shotcount.boxes.annotations import Annotations
from shotcount.core.errors import UserError, printable
from shotcount.core.progress import watch
from shotcount.photos import reading
from shotcount.photos.decoding import Facts, decode
from shotcount.photos.walking import list_photos, walk

BEGINNING = 4096  # bytes of an XML or text file that show what it is


@dataclass(frozen=True)
class Files:
    """Annotation files by their format, and the photos; paths relative to the folder."""

    photos: list[str]
    forms: dict[str, list[str]]  # only formats that are there
    lists: list[str]  # of classes, for YOLO text


@dataclass(frozen=True)
class Collection:
    """Photos, their annotations, and what is wrong with them."""

    root: Path
    photos: list[str]  # paths relative to `root`
    found: Annotations
    facts: pd.DataFrame  # the columns of `photos.decoding.Facts`, by path
    placed: pixels.Placed
    faults: pd.DataFrame  # as `faults.find_faults` returns it, of the boxes in `placed`


def look_for(root: Path) -> Files:
    """List the photos and the annotation files below a folder.

    Raises
    ------
    UserError
        If the folder can't be read or holds no photos.
    """
    photos, tree = list_photos(root), walk(root)
    known = annotations.by_key(photos)
    texts, trees, tables = (
        [path for path in tree.companions if path.lower().endswith(suffix)]
        for suffix in (".txt", ".xml", ".json")
    )
    lists = [path for path in [*tree.companions, *tree.others] if yolo.is_list(path)]
    texts = [path for path in texts if not yolo.is_list(path)]
    signs = {
        coco.FORM: [p for p in tables if coco.looks_like(_beginning(root, p, -1))],
        yolo.FORM: [p for p in texts if yolo.looks_like(p, _beginning(root, p))],
        voc.FORM: [p for p in trees if voc.looks_like(_beginning(root, p))],
    }
    # Where one file is an annotation, so is every other that has a photo: it may be damaged.
    candidates = {coco.FORM: signs[coco.FORM], yolo.FORM: texts, voc.FORM: trees}
    forms: dict[str, list[str]] = {}
    for form, found in signs.items():
        sure = set(found)
        own = [p for p in candidates[form] if p in sure or annotations.key(p) in known]
        forms |= {form: own} if found else {}
    return Files(photos, forms, lists)


def read(root: Path, files: Files) -> Annotations:
    """Read the annotations that `look_for` has found.

    Raises
    ------
    UserError
        If there are none, or in several formats, or one can't be read without doubt.
    """
    if not files.forms:
        raise UserError(
            f"{printable(root)}: no annotations lie among the photos: add COCO's JSON, YOLO's "
            "texts (beside the photos, or in labels/ beside images/) or Pascal VOC's XML (beside "
            "the photos, or in Annotations/ beside JPEGImages/)"
        )
    if len(files.forms) > 1:
        shown = " and ".join(f"{form} ({own[0]})" for form, own in files.forms.items())
        raise UserError(
            f"{printable(root)}: annotations lie there in several formats, {printable(shown)}: "
            "keep one, and move the others away"
        )
    ((form, own),) = files.forms.items()
    if form == coco.FORM:
        return coco.read(root, own, files.photos)
    if form == voc.FORM:
        return voc.read(root, own, files.photos)
    return yolo.read(root, own, files.lists, files.photos)


def collect(root: Path, there: Files) -> Collection:
    """Read annotations and photos.

    Raises
    ------
    UserError
        If the annotations can't be read without doubt.
    """
    found = read(root, there)
    photos = pd.DataFrame({"path": there.photos}, dtype=object)
    with TemporaryDirectory() as work:
        decoded = decode(root, photos, reading.SMALLEST, "pad", Path(work))
        facts = list(watch(decoded, "reading", len(photos), "photo"))
    by_path = pd.DataFrame(facts, pd.Index(there.photos, dtype=object), Facts._fields)
    placed = pixels.place(found, by_path)
    wrong = faults.find_faults(placed.boxes, found.classes)
    return Collection(root, there.photos, found, by_path, placed, wrong)


def unannotated(photos: Sequence[str], found: Annotations) -> list[str]:
    """List the photos that no annotation names, not even as background."""
    named = set(found.photos["photo"])
    return [path for path in photos if path not in named]


def _beginning(root: Path, path: str, most: int = BEGINNING) -> bytes:
    """Return what shows a file's kind; nothing of a file that can't be read, as `read` will say."""
    try:
        return annotations.read_bytes(root, path, most)
    except UserError:
        return b""
