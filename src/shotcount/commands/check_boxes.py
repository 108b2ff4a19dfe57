"""shotcount check-data for photos with boxes: what is annotated, and what is wrong with it."""

from pathlib import Path

import pandas as pd

from shotcount.boxes import drawing, faults
from shotcount.boxes.finding import Collection, Files, collect, unannotated
from shotcount.commands.listing import SHOWN, many, some
from shotcount.core import files
from shotcount.core.errors import UserError, printable
from shotcount.photos import names

PX = 256  # px of the photo's longer side, at which the sizes of boxes are given by default
FOLDS = 5  # a class needs a photo for each; split.folds of the default study
ABOUT = "note: a study classifies whole photos; --task classify shows how it would read these"


def run(root: Path, there: Files, px: int, folder: Path | None) -> int:
    """Print what is annotated, and draw some of it into `folder`.

    Raises
    ------
    UserError
        If something must be mended before training, or the folder lies among the photos.
    """
    if folder is not None and folder.resolve().is_relative_to(root.resolve()):
        raise UserError(
            f"--draw: {folder} lies among the photos, so that the drawings would become part of "
            f"them: name a folder outside {root}"
        )
    read = collect(root, there)
    lines, problems = survey(read, px)
    print("\n".join(lines))
    if folder is not None:
        print("\n".join(["", f"drawn in {folder}:", *draw(read, folder)]))
    print(f"\n{ABOUT}")
    if problems:
        heading = "mend this before a detector is trained on these photos:"
        raise UserError("\n       ".join([heading, *problems]))
    print("Nothing has to be mended before a detector is trained on these photos.")
    return 0


def survey(read: Collection, px: int) -> tuple[list[str], list[str]]:
    """Say what a collection of photos with boxes holds.

    Parameters
    ----------
    read : Collection
    px : int
        Size of the photos' longer side, at which the sizes of boxes are given.

    Returns
    -------
    lines : list of str
        Facts about the collection, to be printed.
    problems : list of str
        What must be mended before a detector is trained, each with how to mend it.
    """
    sound = read.placed.boxes[~read.faults["empty"] & ~read.faults["outside"]]
    worth = [*_worth(read), *_small(sound, px)]
    worth = [f"  {remark}" for remark in worth or ["nothing"]]
    return [*_counts(read, sound, px), "", "worth a look:", *worth], _problems(read, sound)


def draw(read: Collection, folder: Path) -> list[str]:
    """Draw some photos with their boxes into a folder; return a line for each."""
    lines = []
    boxes = read.placed.boxes
    for n, photo in enumerate(drawing.choose(boxes, read.faults), 1):
        own = boxes[boxes["photo"] == photo]
        wrong = read.faults.loc[own.index]
        image = drawing.draw(read.root, photo, own, wrong, read.found.classes)
        with files.atomic(folder / f"{n:02d}.jpg") as temporary:
            image.save(temporary, quality=90)
        told = f"{wrong['any'].sum()} with faults" if wrong["any"].any() else "none with faults"
        lines.append(printable(f"  {n:02d}.jpg: {photo}, {len(own)} boxes, {told}"))
    return lines


# ---------------------------------------------------------------------------- what is there


def _counts(read: Collection, sound: pd.DataFrame, px: int) -> list[str]:
    boxes, found = read.placed.boxes, read.found
    sources = found.photos["file"].unique()
    lines = [
        f"{read.root}: {many(len(read.photos), 'photo')}, {many(len(boxes), 'box')} in "
        f"{many(len(found.classes), 'class', 'classes')}, {found.form} ({_files(sources)})",
        "",
        "read as:",
    ]
    for row in boxes.groupby("label", sort=False).head(1).head(SHOWN).itertuples():
        lines.append(
            printable(
                f"  {row.photo} → {row.label}, {row.left:g} to {row.right:g} px from the left, "
                f"{row.top:g} to {row.bottom:g} px from the top ({row.file}, {row.place})"
            )
        )
    lines += ["", f"class: boxes, photos, median size at {px} px, smaller than "
              f"{faults.SMALLEST} px there"]  # fmt: skip
    sides = faults.scaled_sides(sound, px)
    for label in dict.fromkeys([*found.classes, *boxes["label"]]):
        own, each = boxes[boxes["label"] == label], sides[sound["label"] == label]
        size = "–"
        if len(each):
            size = f"{each['width'].median():.0f} × {each['height'].median():.0f} px"
        small = (each.min(axis=1) < faults.SMALLEST).sum()
        lines.append(
            printable(f"  {label}: {len(own):,}, {own['photo'].nunique():,}, {size}, {small:,}")
        )
    if len(boxes):
        each_photo = boxes.groupby("photo", sort=False).size()
        lines += ["", f"boxes in a photo that has any: median {each_photo.median():g}, most "
                  f"{each_photo.max():,} ({printable(each_photo.idxmax())})"]  # fmt: skip
    for flag, words in (
        ("crowd", "boxes of crowds (groups in one box)"),
        ("difficult", "boxes marked difficult"),
    ):
        if boxes[flag].any():
            lines.append(f"{words}: {boxes[flag].sum():,}")
    return lines


# ---------------------------------------------------------------------------- what to mend


def _problems(read: Collection, sound: pd.DataFrame) -> list[str]:
    boxes, wrong, found = read.placed.boxes, read.faults, read.found
    problems = []
    bad = read.facts[read.facts["fault"] != ""]
    if len(bad):
        shown = [f"{path} ({fault})" for path, fault in bad["fault"].items()]
        problems.append(f"{many(len(bad), 'photo')} can't be read: mend or remove: {some(shown)}")
    if read.placed.otherwise:
        problems.append(
            f"{many(len(read.placed.otherwise), 'photo')} of another size than the annotation "
            "states, so that the boxes lie elsewhere: put back the photos that were annotated: "
            f"{some([f'{path} ({sizes})' for path, sizes in read.placed.otherwise.items()])}"
        )
    for flag, fault in (
        (
            "empty",
            "without area (a side of 1 px or less), such as a click leaves: remove or redraw",
        ),
        ("outside", "wholly outside the photo: remove or redraw"),
        ("unknown", "of class numbers beyond the list: correct them, or add the class"),
    ):
        if wrong[flag].any():
            own = boxes[wrong[flag]]
            problems.append(f"{many(len(own), 'box')} {fault}: {some(_places(own))}")
    problems += _few(sound, found.classes)
    try:
        names.refuse_variants("labels", [*found.classes], [])
    except UserError as fault:
        problems.append(str(fault))
    return problems


def _few(sound: pd.DataFrame, classes: tuple[str, ...]) -> list[str]:
    """Name classes that are in fewer photos than there are folds."""
    counts = sound[sound["label"].isin(classes)].groupby("label")["photo"].nunique()
    if not len(counts):
        return ["there are no boxes at all: annotate some photos"]
    few = [f"{label} ({count})" for label, count in counts.items() if count < FOLDS]
    if not few:
        return []
    return [
        f"{many(len(few), 'class', 'classes')} with boxes in fewer than {FOLDS} photos, too few "
        f"to train and to test on: photograph more, or leave the class out: {some(few)}"
    ]


# ---------------------------------------------------------------------------- what to know


def _worth(read: Collection) -> list[str]:
    boxes, wrong, found = read.placed.boxes, read.faults, read.found
    remarks = [*found.notes]
    if unused := [label for label in found.classes if label not in set(boxes["label"])]:
        remarks.append(f"{many(len(unused), 'class', 'classes')} listed, but without boxes: "
                       f"{some(unused)}")  # fmt: skip
    if len(read.placed.turned):
        remarks.append(
            f"{many(len(read.placed.turned), 'photo')} turned by EXIF, whose boxes were drawn on "
            "the pixels as stored (their annotation states that size): the boxes are turned with "
            f"the photo: {some(read.placed.turned)}"
        )
    if len(read.placed.doubtful):
        remarks.append(
            f"{many(len(read.placed.doubtful), 'photo')} turned by EXIF, where no stated size "
            "tells on which pixels the boxes were drawn; they are taken as drawn on the upright "
            f"photo: look at --draw: {some(read.placed.doubtful)}"
        )
    if found.without_photo:
        remarks.append(
            f"{many(len(found.without_photo), 'annotation')} without a photo: add the photo, or "
            f"remove the annotation: {some(found.without_photo)}"
        )
    if without := unannotated(read.photos, found):
        remarks.append(
            f"{many(len(without), 'photo')} without an annotation: annotate, remove, or declare "
            f"as background (an empty text for YOLO, an image without boxes for COCO, a file "
            f"without <object> for Pascal VOC): {some(without)}"
        )
    if background := sorted({*found.photos["photo"]} - {*found.boxes["photo"]}):
        remarks.append(f"{many(len(background), 'photo')} declared to be background: "
                       f"{some(background)}")  # fmt: skip
    beyond = boxes[wrong["beyond"] > 0]
    if len(beyond):
        most = wrong["lost"].idxmax()
        remarks.append(
            f"{many(len(beyond), 'box')} partly outside the photo, by up to "
            f"{wrong['beyond'].max():.3g} px, and up to {wrong.loc[most, 'lost']:.0%} of the area "
            f"({_places(boxes.loc[[most]])[0]}): clip to the photo: {some(_places(beyond))}"
        )
    for flag, fault in (
        ("twice", "drawn twice with the same label: remove one of each pair"),
        ("contradicted", "at the place of a box with another label: decide which is right"),
    ):
        if wrong[flag].any():
            own = boxes[wrong[flag]]
            remarks.append(f"{many(len(own), 'box')} {fault} (IoU {faults.SAME} or more): "
                           f"{some(_places(own))}")  # fmt: skip
    return [*remarks, *_photos(read)]


def _photos(read: Collection) -> list[str]:
    """Name photos that lie there twice, and what of them can't be read though they can be used."""
    usable = read.facts[read.facts["fault"] == ""]
    copies = usable[usable.duplicated("sha256", keep=False)]
    pairs = [" = ".join(same.index) for _, same in copies.groupby("sha256", sort=False)]
    remarks = [f"{many(len(pairs), 'photo')} there twice or more: {some(pairs)}"] if pairs else []
    for note, own in usable[usable["note"] != ""].groupby("note", sort=False):
        remarks.append(f"{many(len(own), 'photo')}: {note}: {some(list(own.index))}")
    return remarks


def _small(sound: pd.DataFrame, px: int) -> list[str]:
    small = (faults.scaled_sides(sound, px).min(axis=1) < faults.SMALLEST).sum()
    if not small:
        return []
    size = faults.large_enough(sound)
    if size is None:
        mend = "the photos themselves are too small for it: photograph from nearer, or cut them up"
    elif size <= px:
        mend = f"these are few, and at {size} px no class has more than 5 % of such boxes"
    else:
        mend = f"at {size} px, at most 5 % of each class's boxes would be"
    return [
        f"{many(small, 'box')} smaller than {faults.SMALLEST} px (shorter side, where the photo's "
        f"longer side is {px} px), too small to learn: {mend}"
    ]


# ---------------------------------------------------------------------------- words


def _places(boxes: pd.DataFrame) -> list[str]:
    return [f"{row.label} in {row.file}, {row.place}" for row in boxes.itertuples()]


def _files(sources: pd.Series) -> str:
    return printable(sources[0]) if len(sources) == 1 else f"{len(sources):,} files"
