"""One photo as cameras, phones and programs leave it: format, orientation, colours, depth, size."""

import io
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from conftest import make_photo
from PIL import Image, ImageCms, ImageOps

from shotcount.photos.reading import Photo, read_photo, read_whole


def read(path: Path, size: int) -> Photo:
    return read_photo(path.read_bytes(), size, "crop")


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """The bytes of an image file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


# ---- size and place -----------------------------------------------------------------


def test_photo_is_scaled_to_the_shorter_side_and_cropped_in_the_centre(tmp_path: Path) -> None:
    wide = np.zeros((50, 100, 3), np.uint8)
    wide[:, 25:75] = 200  # exactly the centre square
    Image.fromarray(wide).save(tmp_path / "wide.png")
    pixels, width, height, *_ = read(tmp_path / "wide.png", 25)
    assert (width, height) == (100, 50)
    assert pixels.shape == (25, 25, 3)
    assert (pixels[:, 2:-2] == 200).all()  # the outermost pixels see across the edge


def test_padding_keeps_what_lies_at_the_edge(tmp_path: Path) -> None:
    tall = np.zeros((100, 50, 3), np.uint8)
    tall[:20] = 255
    Image.fromarray(tall).save(tmp_path / "tall.png")
    pixels, width, height, *_ = read_photo((tmp_path / "tall.png").read_bytes(), 40, "pad")
    assert (width, height, pixels.shape) == (50, 100, (40, 40, 3))
    assert (pixels[:, :10] == 128).all() and (pixels[:, 30:] == 128).all()
    assert (pixels[:6, 10:30] > 250).all() and (pixels[12:, 10:30] < 5).all()
    assert read(tmp_path / "tall.png", 40).pixels[:6].max() < 5  # the crop loses it


def test_a_very_long_photo_can_be_padded() -> None:
    pixels = read_photo(saved(Image.new("RGB", (5000, 16)), "PNG"), 40, "pad").pixels
    assert (pixels == 0).all((1, 2)).sum() == 1


def test_orientation_is_applied(tmp_path: Path) -> None:
    upright = np.zeros((40, 40, 3), np.uint8)
    upright[:20] = 255  # sky above
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn right by 90° to view": stored turned left
    stored = Image.fromarray(np.rot90(upright)).resize((60, 40))
    stored.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    pixels, width, height, *_ = read(tmp_path / "turned.jpg", 20)
    assert (width, height) == (40, 60)
    assert pixels[:8].mean() > 240
    assert pixels[12:].mean() < 15


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    suffix = ".jpg" if mode == "CMYK" else ".png"
    Image.new("RGB", (30, 30), (255, 255, 255)).convert(mode).save(tmp_path / f"photo{suffix}")
    pixels = read(tmp_path / f"photo{suffix}", 16).pixels
    assert pixels.shape == (16, 16, 3)
    assert pixels.min() > 250


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey_keeps_its_shades(tmp_path: Path, suffix: str) -> None:
    ramp = np.linspace(0, 65535, 40).astype(np.uint16)
    Image.fromarray(np.tile(ramp, (40, 1))).save(tmp_path / f"grey{suffix}")
    pixels = read(tmp_path / f"grey{suffix}", 40).pixels
    assert np.abs(pixels[20, :, 0].astype(int) - ramp // 256).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_what_is_transparent_becomes_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (30, 30), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 30, 10))
    image = image.quantize(4) if mode == "P" else image.convert(mode)
    image.save(tmp_path / ("photo.tif" if mode == "PA" else "photo.png"))
    pixels = read(next(tmp_path.iterdir()), 30).pixels
    assert pixels[:8].max() < 20
    assert pixels[12:].min() > 235


def test_a_phones_file_of_several_pictures_is_its_first(tmp_path: Path) -> None:
    first, second = (Image.new("RGB", (30, 30), colour) for colour in ("red", "blue"))
    first.save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=[second])
    pixels = read(tmp_path / "phone.jpg", 16).pixels
    assert pixels[..., 0].min() > 240
    assert pixels[..., 2].max() < 15


def test_reduced_scale_decoding_looks_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (24, 32, 3), dtype=np.uint8))
    coarse.resize((1600, 1200), Image.Resampling.BICUBIC).save(tmp_path / "big.jpg", quality=95)
    with Image.open(tmp_path / "big.jpg") as image:
        whole = ImageOps.fit(image.convert("RGB"), (128, 128), Image.Resampling.BICUBIC)
    pixels, width, height, *_ = read(tmp_path / "big.jpg", 128)
    difference = np.abs(pixels.astype(int) - np.asarray(whole).astype(int))
    assert (width, height) == (1600, 1200)
    assert difference.mean() < 1.5  # of 255 grey levels
    assert difference.max() < 16


def test_a_photo_of_another_suffix_is_read_by_its_content(tmp_path: Path) -> None:
    make_photo(tmp_path / "a.png", np.random.default_rng(0), 0.5, (30, 30))
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert read(tmp_path / "a.jpg", 16).pixels.shape == (16, 16, 3)


# ---- formats ------------------------------------------------------------------------


def ramp(width: int = 60, height: int = 40) -> Image.Image:
    """A photo that is dark at the left and bright at the right."""
    row = np.linspace(0, 255, width).astype(np.uint8)
    return Image.fromarray(np.tile(row, (height, 1))).convert("RGB")


def heic(image: Image.Image, **info: bytes) -> bytes:
    file, made = io.BytesIO(), pillow_heif.from_pillow(image)
    made.info.update(info)
    made.save(file)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["HEIC", "AVIF", "JPEG2000", "JPEG", "MPO", "WEBP", "TIFF", "BMP"])
def test_every_format_of_cameras_and_phones_is_read(kind: str) -> None:
    content = heic(ramp()) if kind == "HEIC" else saved(ramp(), kind)
    photo = read_photo(content, 20, "crop")
    assert (photo.width, photo.height, photo.note) == (60, 40, "")
    expected = read_photo(saved(ramp(), "PNG"), 20, "crop").pixels
    assert np.abs(photo.pixels.astype(int) - expected).max() <= 8  # of 255 grey levels


def test_an_iphones_photo_is_turned_once() -> None:
    photo = read_photo(heic(ramp(), exif=exif(TURNED)), 20, "crop")
    assert (photo.width, photo.height) == (40, 60)
    assert photo.pixels[0].mean() < 60 < 190 < photo.pixels[-1].mean()


MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "I;16", "I", "F"]


def in_mode(mode: str) -> Image.Image:
    """The ramp in a mode of Pillow; TIFF stores them all."""
    if mode == "I;16":
        return Image.fromarray(np.asarray(ramp().convert("L")).astype(np.uint16) * 257)
    if mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(ramp(), srgb, lab, outputMode="LAB")
    return ramp().convert("P").convert("PA") if mode == "PA" else ramp().convert(mode)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_read_alike_or_refused(mode: str) -> None:
    content = saved(in_mode(mode), "TIFF")
    if mode in ("I", "F"):
        with pytest.raises(ValueError, match="32 bits a pixel: save it with 8 or 16"):
            read_photo(content, 20, "crop")
        return
    made = read_photo(content, 20, "crop").pixels.astype(int)
    whole = read_whole(content, 30)
    expected = read_photo(saved(ramp(), "PNG"), 20, "crop").pixels
    assert np.abs(made.mean((0, 2)) - expected.mean((0, 2))).max() <= (40 if mode == "1" else 6)
    assert (whole.mode, whole.size) == ("RGB", (30, 20))


# ---- EXIF ---------------------------------------------------------------------------


def exif(*entries: tuple[int, int, int, bytes], values: bytes = b"") -> bytes:
    """An EXIF block of the entries (tag, type, count, value or place of the values)."""
    packed = b"".join(struct.pack("<HHI4s", *entry) for entry in entries)
    return b"Exif\0\0II*\0\x08\0\0\0" + bytes([len(entries), 0]) + packed + bytes(4) + values


TURNED = (0x0112, 3, 1, b"\6\0\0\0")  # orientation 6: turned left


@pytest.mark.filterwarnings("ignore:Truncated File Read")  # pytest shows what users never see
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "block",
    [
        exif(TURNED, (0x011A, 10, 1, b"\x26\0\0\0"), values=struct.pack("<ii", -72, 1)),
        exif(TURNED, (0x8769, 2, 4, b"abc\0"), (0x8825, 2, 4, b"abc\0")),
        exif(TURNED, (0x011A, 5, 1, b"\xff\xff\0\0"))[:-2],
        exif((0x0112, 2, 2, b"6\0\0\0")),
        exif((0x0112, 5, 1, b"\x1a\0\0\0"), values=struct.pack("<II", 6, 1)),
    ],
    ids=["signed rational", "text as a place", "cut off", "text", "rational"],
)
def test_the_orientation_is_read_beside_damaged_tags(kind: str, block: bytes) -> None:
    photo = read_photo(saved(ramp(), kind, exif=block), 20, "crop")
    assert (photo.width, photo.height, photo.note) == (40, 60, "")
    assert photo.pixels[0].mean() < 60 < 190 < photo.pixels[-1].mean()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "block",
    [b"Exif\0\0no TIFF at all", exif((0x0112, 7, 1, bytes(4))), exif((0x0112, 3, 1, b"c\0\0\0"))],
    ids=["no TIFF", "bytes", "99"],
)
def test_an_unreadable_orientation_costs_a_note_but_not_the_photo(kind: str, block: bytes) -> None:
    photo = read_photo(saved(ramp(), kind, exif=block), 20, "crop")
    assert (photo.width, photo.height) == (60, 40)
    assert photo.note == "the EXIF orientation can't be read, so it is taken as stored"


def test_damaged_exif_does_not_matter_where_the_format_turns_the_photo() -> None:
    photo = read_photo(heic(ramp(), exif=b"Exif\0\0no TIFF at all"), 20, "crop")
    assert (photo.width, photo.height, photo.note) == (60, 40, "")


# ---- colours ------------------------------------------------------------------------

ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))


def fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


GAMMA = b"para" + bytes(8) + fixed(2.2)
SRGB = b"para" + bytes(4) + b"\0\3\0\0" + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def profile(primaries: tuple[tuple[float, ...], ...], curve: bytes) -> bytes:
    """An ICC profile of three primaries (XYZ) and their curve."""
    tags = {b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1, 0.8249)}
    for channel, xyz in zip(b"rgb", primaries, strict=True):
        tags[bytes([channel]) + b"XYZ"] = b"XYZ \0\0\0\0" + fixed(*xyz)
        tags[bytes([channel]) + b"TRC"] = curve
    start = 128 + 4 + 12 * len(tags)
    places = [start + sum(map(len, list(tags.values())[:n])) for n in range(len(tags))]
    table = struct.pack(">I", len(tags)) + b"".join(
        name + struct.pack(">II", place, len(value))
        for (name, value), place in zip(tags.items(), places, strict=True)
    )
    body = table + b"".join(tags.values())
    head = struct.pack(">I4sI", 128 + len(body), bytes(4), 0x04200000) + b"mntrRGB XYZ "
    head += bytes(12) + b"acsp" + bytes(28) + fixed(0.9642, 1, 0.8249)
    return head.ljust(128, b"\0") + body


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize(
    ("stored", "made"), [((212, 75, 53), profile(P3, SRGB)), ((200, 60, 42), profile(ADOBE, GAMMA))]
)
def test_wide_colours_become_srgb(kind: str, stored: tuple[int, ...], made: bytes) -> None:
    options = {"quality": 100} if kind in ("JPEG", "AVIF") else {"lossless": True}
    options = options if kind in ("JPEG", "AVIF", "WEBP") else {}
    image = Image.new("RGB", (30, 30), stored)
    photo = read_photo(saved(image, kind, icc_profile=made, **options), 20, "crop")
    assert np.abs(photo.pixels[10, 10] - np.array([230, 60, 40])).max() <= 4
    assert photo.note == ""


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA"])
def test_colour_profiles_fit_every_mode(mode: str) -> None:
    image = Image.new("RGB", (30, 30), (120, 120, 120))
    image = image.quantize(4) if mode == "P" else image.convert(mode)
    photo = read_photo(saved(image, "PNG", icc_profile=profile(P3, SRGB)), 20, "crop")
    assert photo.note == ""
    assert np.abs(photo.pixels.astype(int) - 120).max() <= 2


def test_srgb_stays_as_it_is() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain, tagged = saved(ramp(), "PNG"), saved(ramp(), "PNG", icc_profile=srgb)
    first, second = (read_photo(made, 20, "crop").pixels.astype(int) for made in (plain, tagged))
    assert np.abs(first - second).max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_a_profile_that_does_not_fit_costs_a_note_but_not_the_photo(mode: str) -> None:
    made = b"no profile" if mode == "RGB" else profile(P3, SRGB)
    photo = read_photo(saved(ramp().convert(mode), "JPEG", icc_profile=made), 20, "crop")
    assert photo.note == "the colour profile can't be read, so its colours are taken as sRGB"


# ---- depth --------------------------------------------------------------------------


def tiff(packed: bytes, bits: int, channels: int) -> bytes:
    """A TIFF of 60 x 40 px with any number of bits a channel."""
    tags = {256: 60, 257: 40, 258: bits, 259: 1, 262: 2 if channels == 3 else 1, 273: 8}
    tags |= {277: channels, 278: 40, 279: len(packed)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    start = struct.pack("<I", 8 + len(packed))
    return b"II*\0" + start + packed + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [10, 12])
def test_few_bits_in_16_are_refused(bits: int, channels: int) -> None:
    levels = np.tile(np.linspace(0, 2**bits - 1, 60).astype("<u2"), (40, 1))
    levels = np.repeat(levels[..., None], channels, axis=-1)
    with pytest.raises(ValueError, match=r"no value reaches 4,096 of 65,536: .*, scale all"):
        read_photo(tiff(levels.tobytes(), 16, channels), 20, "crop")
    scaled = levels << (16 - bits)
    photo = read_photo(tiff(scaled.tobytes(), 16, channels), 40, "crop")
    assert len(np.unique(photo.pixels)) == 40


def test_few_bits_in_a_png_of_16_are_refused() -> None:
    levels = np.tile(np.linspace(0, 4095, 60).astype(np.uint16), (40, 1))
    with pytest.raises(ValueError, match=r"no value reaches 4,096 of 65,536"):
        read_photo(saved(Image.fromarray(levels), "PNG"), 20, "crop")


def test_12_bits_that_a_tiff_declares_are_scaled() -> None:
    levels = np.tile(np.linspace(0, 4095, 60).astype(int), (40, 1))
    first, second = levels[:, ::2], levels[:, 1::2]
    pairs = [first >> 4, (first & 15) << 4 | second >> 8, second & 255]
    packed = np.stack(pairs, axis=-1).astype(np.uint8).tobytes()
    photo = read_photo(tiff(packed, 12, 1), 40, "crop")
    expected = read_photo(saved(ramp(), "PNG"), 40, "crop").pixels
    assert np.abs(photo.pixels.astype(int) - expected).max() <= 2


# ---- large photos -------------------------------------------------------------------


def test_a_phones_200_megapixels_are_read_without_a_warning() -> None:
    content = saved(Image.new("L", (16320, 12240), 120), "JPEG", quality=50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        photo = read_photo(content, 224, "crop")
    assert (photo.width, photo.height) == (16320, 12240)
    assert np.abs(photo.pixels.astype(int) - 120).max() <= 2


def test_108_megapixels_of_another_format_are_read_without_a_warning() -> None:
    program = (
        "import io, sys; from PIL import Image; from shotcount.photos.reading import read_photo; "
        "file = io.BytesIO(); Image.new('1', (12000, 9000)).save(file, 'PNG'); "
        "print(read_photo(file.getvalue(), 64, 'crop')[1:3])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (shown.stdout, shown.stderr) == ("(12000, 9000)\n", "")


def announcing(content: bytes, frame: bytes, width: int, height: int) -> bytes:
    """A JPEG whose header gives another size."""
    place = content.index(frame) + 5
    return content[:place] + struct.pack(">HH", height, width) + content[place + 4 :]


def test_a_bomb_of_another_format_is_refused() -> None:
    with pytest.raises(Image.DecompressionBombError):
        read_photo(saved(Image.new("1", (16320, 12240)), "PNG"), 224, "crop")


@pytest.mark.parametrize("kind", ["progressive", "one channel a scan", "larger than any camera's"])
def test_a_jpeg_that_fills_the_memory_at_any_scale_is_refused(kind: str) -> None:
    content = saved(ramp(), "JPEG", progressive=kind == "progressive")
    frame = b"\xff\xc2" if kind == "progressive" else b"\xff\xc0"
    size = (65500, 65500) if kind.startswith("larger") else (16320, 12240)
    if kind == "one channel a scan":
        scan = content.index(b"\xff\xda")
        content = content[: scan + 2] + b"\0\x08\1" + content[scan + 5 :]
    with pytest.raises(ValueError, match=f"{size[0]} x {size[1]} px: too large to decode safely"):
        read_photo(announcing(content, frame, *size), 224, "crop")
