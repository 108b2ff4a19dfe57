"""YOLO text: one file a photo, one line a box: class number, centre and size.

All four are shares of the photo's width (x, width) or height (y, height), counted from its left
and top edge. The class number is the place, from 0, in a list: data.yaml (key names), classes.txt
or obj.names. A file without lines declares its photo to be background.
"""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import yaml

from shotcount.boxes import annotations
from shotcount.boxes.annotations import Annotated, Annotations, Box, error, number
from shotcount.core.errors import printable

FORM = "YOLO text"
LISTS = {"data.yaml", "data.yml", "dataset.yaml", "classes.txt"}
# Files of lists and notes that lie among labels; they annotate a photo only if one has their name.
OTHER_TEXTS = {"train", "val", "valid", "test", "classes", "notes", "readme", "license"}
FARTHEST = 2.0  # shares: a box of more was written in pixels
MEND = "a line is: class number, x and y of the centre, width, height, as shares from 0 to 1"


def is_list(path: str) -> bool:
    """Whether a file lists the classes, judged by its name."""
    name = PurePosixPath(path).name.lower()
    return name in LISTS or name.endswith(".names")


def looks_like(path: str, beginning: bytes) -> bool:
    """Whether a text file may hold boxes: it lies in a folder of labels, or begins with numbers."""
    pure = PurePosixPath(path)
    if pure.stem.lower() in OTHER_TEXTS:
        return False
    words = beginning.split(b"\n")[0].replace(b"\0", b"").split()
    numbers = len(words) >= 4 and all(number(word.decode("latin-1")) is not None for word in words)
    return numbers or "labels" in {part.lower() for part in pure.parent.parts}


def read(
    root: Path, files: Sequence[str], lists: Sequence[str], photos: Sequence[str]
) -> Annotations:
    """Read one text file a photo, which lies beside it, or in labels/ beside images/.

    Boxes stay shares of width and height, since the files don't state the photo's size.

    Parameters
    ----------
    root : Path
    files, lists, photos : sequences of str
        Texts with boxes, lists of classes, and photos, relative to `root`.

    Raises
    ------
    UserError
        If a file can't be read without doubt; the message names the file and the line.
    """
    source, classes = _classes(root, lists)
    boxes: list[Box] = []
    annotated: list[Annotated] = []
    without = []
    for file, photo in annotations.match(files, photos).items():
        lines = annotations.read_text(root, file).splitlines()
        own = [
            _box(line.split(), file, f"line {n}", photo or "", classes, source)
            for n, line in enumerate(lines, 1)
            if line.strip()
        ]
        if photo is None:
            without.append(file)
            continue
        annotated.append(Annotated(photo, 0, 0, file))
        boxes += own
    notes = [] if source else ["no data.yaml, classes.txt or obj.names: classes are numbers"]
    return Annotations(
        FORM,
        annotations.as_table(boxes, Box),
        annotations.as_table(annotated, Annotated),
        tuple(classes or sorted({box.label for box in boxes}, key=int)),
        tuple(without),
        normalised=True,
        notes=tuple(notes),
    )


def _box(
    words: list[str], file: str, place: str, photo: str, classes: list[str], source: str
) -> Box:
    if len(words) != 5:
        mend = "export boxes" if len(words) > 6 else MEND  # more: the corners of a polygon
        mend = "export annotations, not predictions" if len(words) == 6 else mend
        raise error(file, place, f"{len(words)} numbers where a box has 5", mend)
    values = [number(word) for word in words]
    for word, value in zip(words, values, strict=True):
        if value is None:
            raise error(file, place, f"{word[:40]!r} is not a number", MEND)
    which, x, y, width, height = (value or 0.0 for value in values)
    if which < 0 or not which.is_integer():
        raise error(file, place, f"{words[0][:40]} is not a class number", MEND)
    if max(map(abs, (x, y, width, height))) > FARTHEST:
        raise error(file, place, f"{' '.join(words[1:])[:80]} are not shares of width and height",
                    "divide pixels by the photo's width and height")  # fmt: skip
    label = str(int(which)) if not source else f"{int(which)}, beyond {source}"
    if which < len(classes):
        label = classes[int(which)]
    sides = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return Box(photo, label, *sides, False, False, file, place)


def _classes(root: Path, lists: Sequence[str]) -> tuple[str, list[str]]:
    """Return the file that lists the classes, and its list; empty if there is none."""
    source, classes = "", list[str]()
    for file in lists:
        text = annotations.read_text(root, file)
        names = _of_yaml(text, file) if file.lower().endswith("ml") else _of_lines(text, file)
        if twice := [name for name in names if names.count(name) > 1]:
            raise error(file, "", f"two classes are named {twice[0]}", "give each its own name")
        if names and source and names != classes:
            raise error(
                file, "", f"lists other classes than {source}", "keep one list, or the same"
            )
        if names and not source:
            source, classes = file, names
    return printable(source), classes


def _of_lines(text: str, file: str) -> list[str]:
    names = [line.strip() for line in text.rstrip().splitlines()]
    if "" in names:
        raise error(file, f"line {names.index('') + 1}", "is empty", "write one class a line")
    return names


def _of_yaml(text: str, file: str) -> list[str]:
    """Return the classes under `names`, as a list or numbered; text as written, such as no."""
    mend = "write names: [first, second, ...] or one `number: name` a line"
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as fault:
        mark = getattr(fault, "problem_mark", None)
        place = f"line {mark.line + 1}" if mark else ""
        raise error(file, place, "is not valid YAML", mend) from None
    pairs = tree.value if isinstance(tree, yaml.MappingNode) else []
    names = next((value for name, value in pairs if name.value == "names"), None)
    if names is None:
        return []
    line = f"line {names.start_mark.line + 1}"
    if isinstance(names, yaml.SequenceNode):
        nodes = dict(enumerate(names.value))
    elif isinstance(names, yaml.MappingNode):
        numbers = {str(number): number for number in range(len(names.value))}
        nodes = {numbers.get(str(name.value), -1): value for name, value in names.value}
    else:
        raise error(file, line, "`names` is no list", mend)
    if set(nodes) != set(range(len(nodes))) or len(nodes) != len(names.value):
        raise error(file, line, "the numbers of `names` don't run from 0 without a gap", mend)
    for node in nodes.values():
        if not isinstance(node, yaml.ScalarNode) or not node.value.strip():
            place = f"line {node.start_mark.line + 1}"
            raise error(file, place, "`names` holds something else than a name", mend)
    return [nodes[number].value.strip() for number in range(len(nodes))]
