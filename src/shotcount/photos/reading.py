"""Read one photo as cameras, phones and programs leave it: upright, 8 bits, RGB, sRGB.

Every part of Shotcount that opens a photo does it here, so that a photo gives the same pixels in
the study, in `check-data` and in `predict`.
"""

import io
import struct
import warnings
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pi_heif
from PIL import (
    ExifTags,
    Image,
    ImageCms,
    ImageFile,
    ImageOps,
    JpegImagePlugin,
    UnidentifiedImageError,
)

from shotcount.core.errors import printable
from shotcount.core.params import Fit

pi_heif.register_heif_opener()
# What is wrong with a photo is said by us, as a note or a refusal. Pillow still refuses headers
# that announce twice as many pixels as it warns of.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

SMALLEST = 16  # px: smaller images show nothing
LARGEST = 179_000_000  # pixels in memory, about where Pillow refuses other formats than JPEG
LARGEST_JPEG = 600_000_000  # pixels on disk: three times the largest photos of phones
PADDING = (128, 128, 128)  # near the mean of the photos that most weights were trained on
FEWEST_LEVELS = 16  # of 256: what has fewer in all is no photo of 16 bits a channel
TURNS = {  # EXIF's orientation → how to turn the stored photo upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
NO_ORIENTATION = "the EXIF orientation can't be read, so it is taken as stored"
NO_PROFILE = "the colour profile can't be read, so its colours are taken as sRGB"


class Photo(NamedTuple):
    """A decoded photo."""

    pixels: np.ndarray  # (size, size, 3), uint8
    width: int  # px, upright, as on disk
    height: int
    note: str  # what can't be read, though the photo can be used
    orientation: int  # EXIF's, by which the stored photo was turned upright; 0 or 1: it was not


def read_photo(content: bytes, size: int, fit: Fit) -> Photo:
    """Decode one photo to a square of pixels: upright, sRGB.

    Transparent parts become white. Of several pictures in a phone's file (MPO, HEIF), the main one
    is read.

    Parameters
    ----------
    content : bytes
        Of the file, in any format that Pillow or libheif reads.
    size : int
        Side of the square in pixels.
    fit : {"crop", "pad", "stretch"}
        Scale the shorter side to `size` and cut out the centre; scale the longer side to it and
        fill the rest with grey; or scale both sides to it, each by its own factor.

    Raises
    ------
    ValueError
        If it is not a usable photo. Pillow raises errors of any type for damaged files.
    """
    upright, (width, height), note, orientation = _upright(content, size)
    if fit == "crop":
        scaled = ImageOps.fit(upright, (size, size), Image.Resampling.BICUBIC)
    else:
        sides = contained(*upright.size, size) if fit == "pad" else (size, size)
        scaled = upright.resize(sides, Image.Resampling.BICUBIC)
    rgb, unread = _to_srgb(scaled, upright.info["icc_profile"])  # once scaled: few pixels
    if fit == "pad":
        rgb = _pad(rgb, size)
    notes = "; ".join(filter(None, [note, unread]))
    return Photo(np.asarray(rgb), width, height, notes, orientation)


def read_whole(content: bytes, size: int) -> Image.Image:
    """Decode one photo like `read_photo`, but uncropped, its longer side scaled down to `size`."""
    upright, *_ = _upright(content, size)
    upright.thumbnail((size, size), Image.Resampling.BICUBIC)
    return _to_srgb(upright, upright.info["icc_profile"])[0]


def contained(width: int, height: int, size: int) -> tuple[int, int]:
    """Return the size of a photo whose longer side is scaled to `size`, in whole pixels."""
    longer = max(width, height)
    across, down = ((2 * side * size + longer) // (2 * longer) for side in (width, height))
    return max(across, 1), max(down, 1)


def why(error: Exception) -> str:
    """Say why a photo can't be used, given the exception that its decoder raised.

    It may be of any type: each format's decoder fails in its own way.
    """
    if isinstance(error, UnidentifiedImageError):
        return "no image that Pillow can read"
    if isinstance(error, UnicodeEncodeError):
        return "the file's name is not UTF-8: rename it"
    return printable(error) or type(error).__name__


def _upright(content: bytes, size: int) -> tuple[Image.Image, tuple[int, int], str, int]:
    """Decode a photo upright, 8 bits a channel, opaque, in mode L, RGB, CMYK or LAB.

    Returns the image (of a large JPEG, reduced, but not below twice `size`), its width and height
    on disk, a note or "", and EXIF's orientation.
    """
    with _open(content) as image:
        width, height = image.size
        if min(width, height) < SMALLEST:
            raise ValueError(f"{width} x {height} px: too small to show anything")
        if getattr(image, "is_animated", False) and image.format != "HEIF":
            raise ValueError("several pictures in one file: save the one that is meant")
        if image.mode in ("I", "F"):
            raise ValueError("32 bits a pixel: save it with 8 or 16")
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            _reduce(image, content, size)
        raw = str(image.tile)  # until it is loaded, says how many bits a channel has in the file
        image.load()
        orientation, note = _orientation(image)
        upright = _opaque(_eight_bits(image, raw))
    if orientation in TURNS:
        upright = upright.transpose(TURNS[orientation])
    if orientation >= 5:  # lies on its side
        width, height = height, width
    upright.info = {"icc_profile": image.info.get("icc_profile")}
    return upright, (width, height), note, orientation


def _open(content: bytes) -> ImageFile.ImageFile:
    if not content.startswith(b"\xff\xd8\xff"):
        return Image.open(io.BytesIO(content))
    # Image.open would refuse 200 megapixels by their header; `_reduce` sees what they take to
    # decode. It would also look for further pictures in the file.
    try:
        return JpegImagePlugin.JpegImageFile(io.BytesIO(content))
    except (SyntaxError, IndexError, TypeError, struct.error):  # as Image.open
        raise UnidentifiedImageError from None


def _reduce(image: JpegImagePlugin.JpegImageFile, content: bytes, size: int) -> None:
    """Have a JPEG decoded at 1/2, 1/4 or 1/8 of its scale; refuse it if it still is too large."""
    width, height = image.size
    # libjpeg decodes row by row if the file's first scan holds all channels and is the only one.
    # Else it keeps the whole photo, at any scale.
    channels = image.layers
    end = image.fp.tell() if image.fp else 0
    scan = content[end - 8 - 2 * channels : end]
    whole = not scan.startswith(b"\xff\xda") or "progressive" in image.info
    image.draft("RGB", (2 * size, 2 * size))
    kept = width * height if whole else image.size[0] * image.size[1]
    if kept > LARGEST or width * height > LARGEST_JPEG:
        raise ValueError(f"{width} x {height} px: too large to decode safely")


def _orientation(image: Image.Image) -> tuple[int, str]:
    """Read EXIF's orientation alone: other tags may be damaged. 0 and 1: as stored."""
    if image.format == "HEIF":  # libheif has turned it
        return 1, ""
    try:
        exif = Image.Exif()  # not image.getexif() first: it is silent about a damaged block
        exif.load(image.info.get("exif", b""))
        value = exif.get(ExifTags.Base.Orientation)
        if value is None:  # a TIFF has it in its own tags, other files may have it in XMP
            value = image.getexif().get(ExifTags.Base.Orientation, 1)
        orientation = int(value[0] if isinstance(value, tuple) else value)
    except Exception:  # of any type, as for all damaged files
        orientation = -1
    return (orientation, "") if 0 <= orientation <= 8 else (1, NO_ORIENTATION)


def _eight_bits(image: Image.Image, raw: str) -> Image.Image:
    """Scale 16-bit grey to 8 bits, which Pillow would clip; it has scaled colours by itself.

    Of a camera's 10 or 12 bits in 16, hardly a shade would be left: refuse them, since one photo
    doesn't tell by which factor all of them have to be scaled.
    """
    grey = image.mode.startswith("I;16")
    bits = 12 if ";12" in raw else 16 if grey or ";16" in raw else 8
    if grey:
        levels = (np.asarray(image) >> (bits - 8)).astype(np.uint8)
    elif bits == 16:
        levels = np.asarray(image.convert("RGB"))
    if bits == 16 and levels.max() < FEWEST_LEVELS:
        raise ValueError(
            f"16 bits a channel, but no value reaches {256 * FEWEST_LEVELS:,} of 65,536: if the "
            "camera has 10 or 12, scale all photos by the same factor, or save them with 8"
        )
    return Image.fromarray(levels) if grey else image


def _opaque(image: Image.Image) -> Image.Image:
    """Lay a photo on white and convert it to L, RGB, CMYK or LAB, whose values can be averaged."""
    grey = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        pixels = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", pixels.size, "white"), pixels)
    if image.mode in ("CMYK", "LAB"):
        return image
    return image.convert("L" if grey else "RGB")


def _pad(image: Image.Image, size: int) -> Image.Image:
    square = Image.new("RGB", (size, size), PADDING)
    square.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    return square


def _to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, str]:
    """Convert what `_opaque` returns to sRGB by its colour profile, if it has one."""
    if image.mode == "LAB":
        return _transform(None)[1].apply(image), ""
    if not profile:
        return image.convert("RGB"), ""
    try:
        mode, transform = _transform(profile)
    except (ImageCms.PyCMSError, OSError, KeyError):
        return image.convert("RGB"), NO_PROFILE
    if (image.mode, mode) == ("L", "RGB"):
        image = image.convert("RGB")
    if image.mode != mode:
        return image.convert("RGB"), NO_PROFILE
    return transform.apply(image), ""


@lru_cache(64)  # the photos of one camera share a profile
def _transform(profile: bytes | None) -> tuple[str, ImageCms.ImageCmsTransform]:
    """Return the mode of the photos that a profile is for, and its transform; of LAB, for None."""
    source = ImageCms.ImageCmsProfile(
        io.BytesIO(profile) if profile else ImageCms.createProfile("LAB")
    )
    mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}[
        source.profile.xcolor_space.strip()
    ]
    transform = ImageCms.buildTransform(
        source,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        # Threads share a transform, but can't share its cache.
        ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOCACHE,
    )
    return mode, transform
