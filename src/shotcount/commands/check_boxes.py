"""shotcount check-data for photos with boxes: what is annotated, and what is wrong with it."""

from pathlib import Path

import pandas as pd

from shotcount.boxes import drawing, faults, pixels, preparing
from shotcount.boxes.finding import Collection, Files, collect, unannotated
from shotcount.commands.listing import SHOWN, many, parts_of_split, some
from shotcount.core import files
from shotcount.core.errors import UserError, printable
from shotcount.core.params import Fit, resolve_fit
from shotcount.params import Params
from shotcount.photos import finding, reading
from shotcount.photos import preparing as photos
from shotcount.photos.decoding import Facts
from shotcount.photos.settings import DataSettings
from shotcount.sampling import sizes, splits

PX = 256  # px of the square photo at which the sizes of boxes are given, where nothing says it
FOLDS = 4  # a class needs a scene for each; split.folds of the default study
ABOUT = "note: read as photos with boxes; --task classify shows how a study of classes reads them"


def run(
    root: Path, there: Files, params: Params | None, px: int | None, folder: Path | None
) -> int:
    """Print what is annotated and how a study reads it, and draw some of it into `folder`.

    Raises
    ------
    UserError
        If something would stop the study, or the folder lies among the photos.
    """
    if folder is not None and folder.resolve().is_relative_to(root.resolve()):
        raise UserError(
            f"--draw: {folder} lies among the photos, so that the drawings would become part of "
            f"them: name a folder outside {root}"
        )
    read = collect(root, there)
    lines, problems = survey(read, px, params)
    print("\n".join(lines))
    if folder is not None:
        print("\n".join(["", f"drawn in {folder}:", *draw(read, folder)]))
    print(f"\n{ABOUT}")
    if problems:
        raise UserError("\n       ".join(["this would stop the study:", *problems]))
    print("Nothing would stop the study.")
    return 0


def survey(
    read: Collection, px: int | None = None, params: Params | None = None
) -> tuple[list[str], list[str]]:
    """Say what a collection of photos with boxes holds, and how a study would read it.

    Parameters
    ----------
    read : Collection
    px : int or None
        Side of the square photos at which the sizes of boxes are given; None: data.size.
    params : Params or None
        None: no params.yaml is there, and the photos are read as by the default settings.

    Returns
    -------
    lines : list of str
        Facts about the collection, to be printed.
    problems : list of str
        What would stop the study, each with how to mend it.
    """
    data = params.data if params else _default(read.root)
    size = data.size if isinstance(data.size, int) else None
    px = px or size or PX
    fit: Fit = "pad" if data.fit == "pad" else "stretch"  # crop is refused below
    sound = read.placed.boxes[~read.faults["empty"] & ~read.faults["outside"]]
    counts = _counts(read, sound, px, fit)
    worth, bad, split = _worth(read), list[str](), list[str]()
    try:
        resolve_fit(data.fit, detection=True)
        scenes = finding.find_scenes(read.root, data.pattern, data.table)
        source = preparing.Source(scenes, read.found, fit)
        known = {row[0]: Facts(*row[1:]) for row in read.facts.itertuples()}
        facts = [known[path] for path in scenes["path"]]
        marked, _ = preparing.mark(source, facts)
        bad = [*_bad_photos(read, marked), *_bad_boxes(read, marked)]
        chosen = preparing.choose(source, facts, "skip")
        manifest = chosen.photos.assign(photo=range(len(chosen.photos)))
        worth += _left_alone(read, scenes)
        worth += photos.remarks(
            manifest, photos.other_files(read.root), size or reading.SMALLEST, fit
        )
        squares = preparing.to_table(chosen, manifest, px, fit)
        worth += faults.too_small(squares[~squares["ignored"]], manifest, px)
        split, stops = _split(manifest, squares, params)
    except UserError as error:
        stops = [str(error)]
    if data.on_bad_photo == "skip":
        worth, bad = [*worth, *(f"left out: {remark}" for remark in bad)], []
    worth = [f"  {remark}" for remark in worth or ["nothing"]]
    return [*counts, *split, "", "worth a look:", *worth], [*bad, *stops]


def _default(root: Path) -> DataSettings:
    return DataSettings(
        path=str(root), task="detect", pattern=None, table=None, size="auto", fit="auto",
        on_bad_photo="error",
    )  # fmt: skip


def _split(
    manifest: pd.DataFrame, boxes: pd.DataFrame, params: Params | None
) -> tuple[list[str], list[str]]:
    """Say how scenes are split, and what stops it."""
    scenes = boxes["photo"].map(manifest["sample"])[~boxes["ignored"]]
    few = _few(scenes.groupby(boxes["label"]).nunique(), params.split.folds if params else FOLDS)
    if few or params is None:
        return [], few
    lines: list[str] = []
    try:
        parts = splits.split_samples(manifest, params.split, params.study.draws)
        lines = parts_of_split(parts)
        sizes.check_sizes(parts["train"], params.study)
    except UserError as error:
        return lines, [str(error)]
    return lines, []


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


def _counts(read: Collection, sound: pd.DataFrame, px: int, fit: Fit) -> list[str]:
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
    lines += ["", f"class: boxes, photos, median size in photos of {px} × {px} px ({fit}), smaller "
              f"than {faults.SMALLEST} px there"]  # fmt: skip
    corners = pixels.to_square(sound, px, fit)
    sides = pd.DataFrame(corners[:, 2:] - corners[:, :2], sound.index, ["width", "height"])
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


def _bad_photos(read: Collection, marked: pd.DataFrame) -> list[str]:
    """Name the photos that can't be used; `marked` is of `preparing.mark`."""
    bad = marked[marked["fault"] != ""].set_index("path")["fault"]
    without = [path for path in unannotated(read.photos, read.found) if path in bad.index]
    otherwise = {path: s for path, s in read.placed.otherwise.items() if path in bad.index}
    other = bad.drop([*without, *otherwise])
    shown = [f"{path} ({fault})" for path, fault in other.items()]
    problems = []
    if shown:
        problems.append(f"{many(len(shown), 'photo')} can't be used: mend or remove: {some(shown)}")
    if without:
        problems.append(
            f"{many(len(without), 'photo')} without an annotation: annotate, remove, or declare "
            f"as background (an empty text for YOLO, an image without boxes for COCO, a file "
            f"without <object> for Pascal VOC): {some(without)}"
        )
    if otherwise:
        problems.append(
            f"{many(len(otherwise), 'photo')} of another size than the annotation "
            "states, so that the boxes lie elsewhere: put back the photos that were annotated: "
            f"{some([f'{path} ({sizes})' for path, sizes in otherwise.items()])}"
        )
    return problems


def _bad_boxes(read: Collection, marked: pd.DataFrame) -> list[str]:
    """Name the boxes of usable photos that can't be used."""
    usable = read.placed.boxes["photo"].isin(marked.loc[marked["fault"] == "", "path"])
    problems = []
    for flag, fault in faults.UNUSABLE.items():
        own = read.placed.boxes[read.faults[flag] & usable]
        if len(own):
            problems.append(f"{many(len(own), 'box')} {fault}: {some(_places(own))}")
    return problems


def _few(scenes: pd.Series, folds: int | None) -> list[str]:
    """Name classes that are in fewer scenes than there are folds."""
    few = [f"{label} ({count})" for label, count in scenes.items() if folds and count < folds]
    if not few:
        return []
    return [
        f"{many(len(few), 'class', 'classes')} in fewer than {folds} scenes, too few to train and "
        f"to test on with so many folds: photograph more, or leave the class out: {some(few)}"
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
    if wrong["contradicted"].any():
        own = boxes[wrong["contradicted"]]
        remarks.append(
            f"{many(len(own), 'box')} at the place of a box with another label: decide which is "
            f"right (IoU {faults.SAME} or more): {some(_places(own))}"
        )
    return remarks


def _left_alone(read: Collection, scenes: pd.DataFrame) -> list[str]:
    known = set(scenes["path"])
    others = [path for path in read.photos if path not in known]
    return [f"not part of the collection: {some(others)}"] if others else []


# ---------------------------------------------------------------------------- words


def _places(boxes: pd.DataFrame) -> list[str]:
    return [f"{row.label} in {row.file}, {row.place}" for row in boxes.itertuples()]


def _files(sources: pd.Series) -> str:
    return printable(sources[0]) if len(sources) == 1 else f"{len(sources):,} files"
