"""Turn a collection into a manifest and pixels: all results rest on these, not on the files."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from shotcount.core import files
from shotcount.core.errors import UserError, printable
from shotcount.core.params import Fit
from shotcount.core.pixels import write_shards
from shotcount.photos.decoding import Facts
from shotcount.photos.walking import count_kinds, walk

MANY_TIMES = 5  # the samples of another class
MUCH_CUT = 0.25  # a photo of 4:3 loses just so much to the centre crop


def write_pixels(usable: pd.DataFrame, size: int, work: Path, folder: Path) -> pd.DataFrame:
    """Write the pixels of photos as uint8 shards; return the manifest.

    Parameters
    ----------
    usable : DataFrame
        The photos that can be used, as of `judge`.
    size : int
        Side of the decoded photos in pixels.
    work : Path
        The folder that `decode` has written to. If an interruption stops this call, the next one
        doesn't decode the photos again.
    folder : Path
        Where the pixels go; `core.pixels.Pixels` reads them.

    Returns
    -------
    DataFrame
        The columns of `core.tables.MANIFEST`, and more.
    """
    # Shards of an interrupted call are kept only if the same photos are usable.
    name = hashlib.sha256("".join(usable["sha256"]).encode()).hexdigest()
    decoded = np.memmap(work / "pixels", np.uint8, mode="r").reshape(-1, size, size, 3)
    write_shards(work / name, decoded, usable["place"].to_numpy())
    files.publish(work / name, folder)
    return usable.assign(photo=range(len(usable)))


def judge(
    photos: pd.DataFrame, facts: list[Facts], on_bad_photo: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Separate the photos that can be used from those that can't, as `mark` tells them.

    Returns
    -------
    usable, left_out : DataFrame
        As of `separate`.

    Raises
    ------
    UserError
        If photos can't be used and `on_bad_photo` is "error", or if none can be used.
    """
    table = mark(photos, facts)
    bad = table[table["fault"] != ""]
    if len(bad) and on_bad_photo == "error":
        listing = "".join(f"\n       {row.path_shown}: {row.fault}" for row in bad.itertuples())
        raise UserError(
            f"{len(bad)} of the {len(table)} photos can't be used: fix or remove them, or set "
            f"data.on_bad_photo: skip{listing}"
        )
    return separate(table)


def mark(photos: pd.DataFrame, facts: list[Facts]) -> pd.DataFrame:
    """Say of each photo why it can't be used, if it can't.

    Unreadable photos can't be used, nor can copies: the same photo in two classes is a
    contradiction, and in two samples it could be in training and test.

    Returns
    -------
    DataFrame
        Columns of `photos` and of `Facts`, and path_shown.
    """
    table = pd.concat(
        [photos.reset_index(drop=True), pd.DataFrame(facts, columns=Facts._fields)], axis=1
    )
    table["path_shown"] = table["path"].map(printable)
    readable = table[table["fault"] == ""]
    for _, copies in readable[readable.duplicated("sha256", keep=False)].groupby("sha256"):
        first = copies.iloc[0]
        if copies["label"].nunique() > 1:
            shown = ", ".join(copies["path_shown"])
            table.loc[copies.index, "fault"] = f"one photo in several classes: {shown}"
        else:
            others = copies.index[copies["sample"] != first["sample"]]
            table.loc[others, "fault"] = f"a copy of {first['path_shown']}, of another sample"
    return table


def separate(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Separate the photos that can be used, as `mark` tells them, from those that can't.

    Returns
    -------
    usable : DataFrame
        Columns of `table`.
    left_out : DataFrame
        The columns of `core.tables.LEFT_OUT`.

    Raises
    ------
    UserError
        If none can be used.
    """
    bad = table[table["fault"] != ""]
    if len(bad) == len(table):
        raise UserError(f"data.path: none of the {len(table)} photos can be used")
    left_out = pd.DataFrame({"path": bad["path_shown"], "reason": bad["fault"]})
    return table[table["fault"] == ""].reset_index(drop=True), left_out


def check_classes(usable: pd.DataFrame) -> None:
    """Refuse photos that are all of one class."""
    if usable["label"].nunique() < 2:
        only = usable["label"].iloc[0]
        raise UserError(f"data.path: all photos are of one class, {only!r}: two or more are needed")


def imbalance(manifest: pd.DataFrame) -> list[str]:
    """Say so if one class has many times the samples of another."""
    sizes = manifest.drop_duplicates("sample")["label"].value_counts()
    if sizes.iloc[0] < MANY_TIMES * sizes.iloc[-1]:
        return []
    return [
        f"{sizes.index[0]} has {sizes.iloc[0]} samples, {sizes.index[-1]} only {sizes.iloc[-1]}: "
        "consider answer.metric: balanced_accuracy, or add samples"
    ]


def other_files(root: Path) -> pd.DataFrame:
    """Return a row of `core.tables.LEFT_OUT` that counts the files that aren't photos, if any."""
    others = walk(root).others
    rows = [{"path": "", "reason": count_kinds(others)}] if others else []
    return pd.DataFrame(rows, columns=["path", "reason"])


def remarks(manifest: pd.DataFrame, left_out: pd.DataFrame, size: int, fit: Fit) -> list[str]:
    """List what is worth a look but doesn't stop the study."""
    made = [
        f"left out: {row.path}: {row.reason}" if row.path else f"left out: {row.reason}"
        for row in left_out.itertuples()
    ]
    for note, own in manifest[manifest["note"] != ""].groupby("note", sort=False):
        made.append(f"{len(own):,} photos: {note}: {printable(own['path'].iloc[0])} first")
    small = manifest[manifest[["width", "height"]].min(axis=1) < size]
    if len(small):
        made.append(
            f"{len(small)} photos are smaller than data.size ({size} px) and were enlarged, "
            f"{printable(small['path'].iloc[0])} first"
        )
    sides = manifest[["width", "height"]]
    cut = 1 - sides.min(axis=1) / sides.max(axis=1)  # share of the area outside the centre square
    if fit == "crop" and len(much := manifest[cut > MUCH_CUT]):
        made.append(
            f"{len(much):,} photos lose more than a quarter of their area to the crop, up to "
            f"{cut.max():.0%} ({printable(manifest['path'][cut.idxmax()])}): if what they show may "
            "lie at the edge, set data.fit: pad"
        )
    copies = manifest[manifest.duplicated(["sample", "sha256"], keep=False)]
    if len(copies):
        pairs = "; ".join(
            " = ".join(map(printable, same["path"])) for _, same in copies.groupby("sha256")
        )
        made.append(f"the same photo as several angles of a sample: {pairs}")
    return made
