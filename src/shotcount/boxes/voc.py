"""Pascal VOC XML: one file a photo, boxes as the first and last pixel of each side, from 1.

The format is described in the development kit of M. Everingham et al., "The PASCAL Visual Object
Classes (VOC) Challenge", IJCV 2010: <xmin> and <xmax> are the columns of the box's outermost
pixels, and the leftmost column of a photo is 1. So left = xmin - 1 and right = xmax.
"""

from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from shotcount.boxes import annotations
from shotcount.boxes.annotations import Annotated, Annotations, Box, error, number

FORM = "Pascal VOC XML"
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def looks_like(content: bytes) -> bool:
    """Whether a file may be an annotation in Pascal VOC's XML, judged by its root element."""
    return b"<annotation" in content.replace(b"\0", b"")  # in UTF-16, each letter has a zero


def read(root: Path, files: Sequence[str], photos: Sequence[str]) -> Annotations:
    """Read one XML file a photo, which lies beside it, or in Annotations/ beside JPEGImages/.

    Raises
    ------
    UserError
        If a file can't be read without doubt; the message names the file and the line.
    """
    boxes: list[Box] = []
    annotated: list[Annotated] = []
    without = []
    for file, photo in annotations.match(files, photos).items():
        tree = parse(annotations.read_bytes(root, file), file)
        own = [_box(object_, file, photo or "") for object_ in tree.findall("object")]
        if photo is None:
            without.append(file)
            continue
        annotated.append(Annotated(photo, *_size(tree, file), file))
        boxes += own
    notes = []
    if zeros := sum(box.left < 0 or box.top < 0 for box in boxes):
        notes.append(
            f"boxes that begin at pixel 0, though Pascal VOC counts from 1: {zeros:,}. If the "
            "program that wrote them counts from 0, all boxes lie one pixel too far left and up"
        )
    return Annotations(
        FORM,
        annotations.as_table(boxes, Box),
        annotations.as_table(annotated, Annotated),
        tuple(sorted({box.label for box in boxes})),
        tuple(without),
        notes=tuple(notes),
    )


def parse(content: bytes, file: str) -> Element:
    """Parse XML into elements whose attribute `line` says where they begin.

    A document type is refused: only there could entities be declared, which can grow without
    bounds or name files of this machine. An annotation needs none.

    Raises
    ------
    UserError
        If it is no well-formed XML with the root <annotation>.
    """
    builder, parser = TreeBuilder(), expat.ParserCreate()

    def refuse(*_: object) -> None:
        place = f"line {parser.CurrentLineNumber}"
        raise error(file, place, "declares a document type (<!DOCTYPE)", "remove that line")

    def start(tag: str, _: object) -> None:
        builder.start(tag, {"line": str(parser.CurrentLineNumber)})

    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(content, True)
    except expat.ExpatError as fault:
        said = expat.errors.messages[fault.code]
        raise error(
            file, f"line {fault.lineno}", f"broken XML ({said})", "export the file again, in UTF-8"
        ) from None
    except (LookupError, ValueError) as fault:  # an encoding that Python doesn't know, or of CJK
        raise error(
            file, "line 1", f"its encoding can't be read ({fault})", "save the file in UTF-8"
        ) from None
    tree = builder.close()
    if tree.tag != "annotation":
        raise error(file, f"line {tree.get('line')}", f"begins with <{tree.tag}>, not <annotation>",
                    "move the file away, or export it as Pascal VOC")  # fmt: skip
    return tree


def _box(object_: Element, file: str, photo: str) -> Box:
    place = f"line {object_.get('line')}"
    label = (object_.findtext("name") or "").strip()
    if not label:
        raise error(file, place, "an <object> without a <name>", "write the class of the box")
    corners = object_.find("bndbox")
    if corners is None:
        raise error(file, place, f"the <object> {label} has no <bndbox>", "draw its box")
    left, top, right, bottom = (_number(corners, name, file) for name in CORNERS)
    difficult = (object_.findtext("difficult") or "0").strip()
    if difficult not in ("0", "1"):
        raise error(file, place, f"<difficult> is {difficult!r}", "write 0 or 1")
    return Box(photo, label, left - 1, top - 1, right, bottom, False, difficult == "1", file, place)


def _size(tree: Element, file: str) -> tuple[int, int]:
    """Return the stated width and height of the photo; 0 where they aren't stated."""
    size = tree.find("size")
    if size is None:
        return 0, 0
    sides = [_number(size, name, file) for name in ("width", "height")]
    for name, side in zip(("width", "height"), sides, strict=True):
        if side < 0 or not side.is_integer():
            place = f"line {size.get('line')}"
            raise error(file, place, f"<{name}> is {side:g}", "write the photo's size in pixels")
    return int(sides[0]), int(sides[1])


def _number(parent: Element, name: str, file: str) -> float:
    child = parent.find(name)
    if child is None:
        place = f"line {parent.get('line')}"
        raise error(file, place, f"<{parent.tag}> has no <{name}>", f"write <{name}>")
    value = number((child.text or "").strip())
    if value is None:
        shown = (child.text or "").strip()
        raise error(file, f"line {child.get('line')}", f"<{name}> is {shown[:40]!r}, not a number",
                    "write a number of pixels")  # fmt: skip
    return value
