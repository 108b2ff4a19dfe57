"""What a study takes from a collection, of classes or with boxes: its photos, boxes and strata."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from shotcount.boxes import faults, finding, pixels
from shotcount.boxes.annotations import Annotations
from shotcount.core import tables
from shotcount.core.errors import UserError, printable
from shotcount.core.params import Fit, resolve_fit
from shotcount.photos import names, preparing
from shotcount.photos.decoding import Facts
from shotcount.photos.finding import find_photos, find_scenes
from shotcount.photos.settings import DataSettings

NO_OBJECT = "(no object)"
FEWEST = 20  # scenes that make a stratum: so many leave some for each fold and for validation
LISTED = 50  # boxes in an error
UNANNOTATED = (
    "no annotation: annotate it, or declare it as background (an empty text for YOLO, an image "
    "without boxes for COCO, a file without <object> for Pascal VOC)"
)


@dataclass(frozen=True)
class Source:
    """A collection before its photos are decoded.

    Attributes
    ----------
    photos : DataFrame
        As of `find_photos`, or of `find_scenes`.
    found : Annotations or None
        None if the study is about classes.
    fit : {"crop", "pad", "stretch"}
    """

    photos: pd.DataFrame
    found: Annotations | None
    fit: Fit


@dataclass(frozen=True)
class Chosen:
    """The photos and boxes that a study uses.

    Attributes
    ----------
    photos : DataFrame
        As of `photos.preparing.separate`; with boxes, the label is the scene's stratum.
    boxes : DataFrame
        As of `pixels.place`; without rows if the study is about classes.
    left_out : DataFrame
        The columns of `core.tables.LEFT_OUT`.
    """

    photos: pd.DataFrame
    boxes: pd.DataFrame
    left_out: pd.DataFrame


def open_source(root: Path, data: DataSettings) -> Source:
    """Find the photos of a study, and read the annotations of boxes, if it is about boxes.

    Raises
    ------
    UserError
        If photos can't be found, or annotations can't be read without doubt, or data.fit would cut
        objects away.
    """
    there = None if data.task == "classify" else finding.look_for(root)
    if there is None or (data.task == "auto" and not there.forms):
        photos = find_photos(root, data.pattern, data.table)
        return Source(photos, None, resolve_fit(data.fit, detection=False))
    fit = resolve_fit(data.fit, detection=True)
    found = finding.read(root, there)
    return Source(find_scenes(root, data.pattern, data.table), found, fit)


def choose(source: Source, facts: Iterable[Facts], on_bad_photo: str) -> Chosen:
    """Choose what can be used of a collection.

    Parameters
    ----------
    source : Source
    facts : iterable of Facts
        What `photos.decoding.decode` yields for its photos.
    on_bad_photo : {"error", "skip"}

    Raises
    ------
    UserError
        If photos or boxes can't be used and `on_bad_photo` is "error"; the message names each
        photo, or file and line, and the mend. If no study can be made of what can be used.
    """
    if source.found is None:
        photos, left_out = preparing.judge(source.photos, list(facts), on_bad_photo)
        preparing.check_classes(photos)
        return Chosen(photos, pd.DataFrame(columns=list(tables.BOXES)), left_out)
    names.refuse_variants("labels", source.found.classes, [])
    marked, placed = mark(source, list(facts))
    sound = marked.loc[marked["fault"] == "", "path"]
    boxes = placed.boxes[placed.boxes["photo"].isin(sound)]
    wrong = faults.why(faults.find_faults(boxes, source.found.classes))
    bad = boxes.assign(fault=wrong)[wrong != ""]
    if on_bad_photo == "error":
        _refuse(marked, bad, len(boxes))
    photos, left_out = preparing.separate(marked)
    boxes = boxes[wrong == ""]
    if (boxes["crowd"] | boxes["difficult"]).all():
        raise UserError("data.path: there are no boxes that can be used: annotate some photos")
    reasons = pd.DataFrame({"path": "", "reason": _lines(bad)})
    scenes = photos.set_index("path")["sample"]
    photos["label"] = photos["sample"].map(strata(boxes, scenes))
    return Chosen(photos, boxes, pd.concat([left_out, reasons], ignore_index=True))


def mark(source: Source, facts: list[Facts]) -> tuple[pd.DataFrame, pixels.Placed]:
    """Say of each photo with boxes why it can't be used, if it can't, and place the boxes.

    Besides what `photos.preparing.mark` tells, a photo needs an annotation, and must have the size
    that this states.
    """
    assert source.found is not None
    paths = pd.Index(source.photos["path"], dtype=object)
    placed = pixels.place(source.found, pd.DataFrame(facts, paths, Facts._fields))
    reasons = dict.fromkeys(finding.unannotated(list(paths), source.found), UNANNOTATED)
    reasons |= {
        path: f"of another size than its annotation states ({sizes}), so that its boxes lie "
        "elsewhere: put back the photo that was annotated"
        for path, sizes in placed.otherwise.items()
    }
    told = [
        one._replace(fault=one.fault or reasons.get(path, ""))
        for path, one in zip(paths, facts, strict=True)
    ]
    return preparing.mark(source.photos, told), placed


def to_table(chosen: Chosen, manifest: pd.DataFrame, size: int, fit: Fit) -> pd.DataFrame:
    """Return the boxes as `core.tables.BOXES`, in the pixels of `size` × `size` photos."""
    if chosen.boxes.empty:
        return chosen.boxes
    boxes = chosen.boxes
    table = pd.DataFrame(
        pixels.to_square(boxes, size, fit), columns=tables.CORNERS, index=boxes.index
    ).assign(
        photo=boxes["photo"].map(manifest.set_index("path")["photo"]),
        label=boxes["label"],
        ignored=boxes["crowd"] | boxes["difficult"],
    )
    # Not in the order of the files, in which the formats differ.
    return table[list(tables.BOXES)].sort_values(list(tables.BOXES), ignore_index=True)


def _refuse(marked: pd.DataFrame, bad: pd.DataFrame, boxes: int) -> None:
    """Refuse photos and boxes that can't be used, all at once."""
    photos = marked[marked["fault"] != ""]
    lines = [f"{row.path_shown}: {row.fault}" for row in photos.itertuples()]
    lines += _lines(bad)[:LISTED]
    if len(bad) > LISTED:
        lines.append(f"and {len(bad) - LISTED:,} more boxes")
    if lines:
        counts = [f"{len(photos):,} of the {len(marked):,} photos"] if len(photos) else []
        counts += [f"{len(bad):,} of the {boxes:,} boxes"] if len(bad) else []
        listing = "".join(f"\n       {line}" for line in lines)
        raise UserError(
            f"{' and '.join(counts)} can't be used: mend or remove them, or set "
            f"data.on_bad_photo: skip{listing}"
        )


def _lines(bad: pd.DataFrame) -> list[str]:
    return [
        printable(f"{row.file}, {row.place}: a box ({row.label}) {row.fault}")
        for row in bad.itertuples()
    ]


# ---------------------------------------------------------------------------- strata


def strata(boxes: pd.DataFrame, scenes: pd.Series) -> pd.Series:
    """Divide scenes into strata, so that a split of each alike is a split of each class alike.

    As in iterative stratification, rare classes come first, since their scenes are hardest to
    share out: all scenes that hold the class in the fewest scenes are its stratum; then the rarest
    class of the other scenes has all of these that hold it, and so on. A class that has fewer than
    `FEWEST` scenes left, after others have taken some of its scenes, gets no stratum. Scenes that
    are in none at the end are one together if they are more than any stratum has; else they join
    the largest. So do those without an object, if they are fewer than `FEWEST`.

    Parameters
    ----------
    boxes : DataFrame
        Columns photo, label, crowd, difficult; of a crowd, or difficult, a box counts as no object.
    scenes : Series
        The scene of every photo, by photo.

    Returns
    -------
    Series of str
        The stratum of each scene, by scene: the class that it is named after, or `NO_OBJECT`.

    References
    ----------
    Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data", ECML PKDD 2011.
    """
    objects = boxes[~(boxes["crowd"] | boxes["difficult"])]
    holds = pd.DataFrame({"label": objects["label"], "scene": objects["photo"].map(scenes)})
    holds = every = holds.drop_duplicates().sort_values(["label", "scene"])
    made = pd.Series("", index=pd.Index(scenes.unique(), name="sample"), dtype=object)
    made[~made.index.isin(holds["scene"])] = NO_OBJECT
    total = holds["label"].value_counts()
    while len(holds):
        counts = holds["label"].value_counts(sort=False).sort_index()
        rarest = counts.idxmin()
        if counts[rarest] >= min(FEWEST, total[rarest]):
            own = holds.loc[holds["label"] == rarest, "scene"]
            made[own] = rarest
            holds = holds[~holds["scene"].isin(own)]
        else:
            holds = holds[holds["label"] != rarest]
    rest = every.loc[every["scene"].isin(made.index[made == ""]), "label"]
    if (made == "").sum() > _sizes(made).max():  # small strata: these would no longer be rare
        made[made == ""] = _sizes(rest).idxmax()
    few = (made == NO_OBJECT) & ((made == NO_OBJECT).sum() < FEWEST)
    return made.mask((made == "") | few, _sizes(made).idxmax())


def _sizes(labels: pd.Series) -> pd.Series:
    """Count each class."""
    return labels[~labels.isin(["", NO_OBJECT])].value_counts(sort=False).sort_index()


# ---------------------------------------------------------------------------- words


def counts(manifest: pd.DataFrame, boxes: pd.DataFrame) -> str:
    """Count the photos, samples and classes (or objects of each class) of a study."""
    samples = manifest["sample"].nunique()
    if not tables.is_detection(boxes):
        classes = manifest["label"].nunique()
        return f"{len(manifest)} photos of {samples} samples in {classes} classes"
    objects = boxes[~boxes["ignored"]]
    each = objects["label"].value_counts(sort=False).sort_index()
    shown = printable(", ".join(f"{label} {count:,}" for label, count in each.items()))
    ignored = f"; ignored: {boxes['ignored'].sum():,}" if boxes["ignored"].any() else ""
    return (
        f"{len(manifest):,} photos of {samples:,} scenes with {len(objects):,} objects: {shown}"
        f"{ignored}"
    )


def remarks(manifest: pd.DataFrame, boxes: pd.DataFrame, source: Source, size: int) -> list[str]:
    """List what is worth a look in what a study is about: its classes, or its boxes."""
    if source.found is None:
        return preparing.imbalance(manifest)
    made = list(source.found.notes)
    if count := len(source.found.without_photo):
        first = printable(source.found.without_photo[0])
        made.append(f"{count:,} annotations without a photo, {first} first")
    return [*made, *faults.too_small(boxes[~boxes["ignored"]], manifest, size)]
