"""Decoding and fitting: transparency on white, EXIF's rotation, sizes as transformers' processors make them."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from genjax.data.image_files import decode_image, fit_image, read_image
from genjax.errors import CheckpointError, DataError
from genjax.interop.preprocessor import Preprocessor, from_json, read_preprocessor, to_json
from tests.data.pictures import png


@pytest.mark.parametrize(
    ("content", "color"),
    [
        (png((255, 0, 0, 0), mode="RGBA"), (255, 255, 255)),
        (png((255, 0, 0, 128), mode="RGBA"), (255, 127, 127)),
        (png((10, 255), mode="LA"), (10, 10, 10)),
        (png((10, 0), mode="LA"), (255, 255, 255)),
        (png(7, mode="L"), (7, 7, 7)),
        (png(1, mode="1"), (255, 255, 255)),
        (png(40_000, mode="I;16"), (156, 156, 156)),
    ],
)
def test_modes_come_to_colours_on_white(content, color):
    pixels = np.asarray(decode_image(content, "x"))
    assert pixels.shape == (8, 8, 3) and (np.abs(pixels.astype(int) - color) <= 1).all()


def test_a_palette_with_a_transparent_entry():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 9, 8, 7])
    stream = io.BytesIO()
    image.save(stream, "PNG", transparency=0)
    assert np.asarray(decode_image(stream.getvalue(), "x"))[0, 0].tolist() == [9, 8, 7]
    image.putpixel((0, 0), 0)
    stream = io.BytesIO()
    image.save(stream, "PNG", transparency=0)
    assert np.asarray(decode_image(stream.getvalue(), "x"))[0, 0].tolist() == [255, 255, 255]


def png_16(samples, color_type, transparent=b""):
    """A PNG of 16 bits, which Pillow does not write in colour; `samples` is [height, width, channels]."""
    height, width, _ = samples.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    chunks = [(b"IHDR", struct.pack(">2I5B", width, height, 16, color_type, 0, 0, 0))]
    chunks += [(b"tRNS", transparent)] if transparent else []
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    packed = (struct.pack(">I", len(c)) + name + c + struct.pack(">I", zlib.crc32(name + c)) for name, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.parametrize(("color_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)], ids=["grey", "rgb", "grey+a", "rgb+a"])
def test_of_16_bits_the_upper_8_are_kept(color_type, channels):
    samples = np.random.default_rng(0).integers(0, 65536, (5, 4, channels))
    upper = samples / 65536 * 256 // 1
    expected = np.broadcast_to(upper[..., : 1 if channels < 3 else 3], (5, 4, 3))
    if channels in (2, 4):
        alpha = upper[..., -1:] / 255
        expected = expected * alpha + 255 * (1 - alpha)
    found = np.asarray(decode_image(png_16(samples, color_type), "x")).astype(float)
    assert np.abs(found - expected).max() <= (1 if channels in (2, 4) else 0)


def test_a_grey_of_16_bits_that_stands_for_transparency_is_white():
    samples = np.array([[[0x1234], [0x1200], [0x1235]]])
    found = np.asarray(decode_image(png_16(samples, 0, transparent=b"\x12\x34"), "x", channels=1))
    assert found.tolist() == [[255, 0x12, 0x12]]


@pytest.mark.parametrize("most", [65535, 1023])
def test_a_pgm_of_more_than_8_bits_is_scaled_by_what_it_names_as_white(most):
    greys = np.array([0, most // 4, most // 2, most])
    content = f"P5 4 1 {most}\n".encode() + greys.astype(">u2").tobytes()
    found = np.asarray(decode_image(content, "x", channels=1))[0]
    assert np.abs(found - greys / most * 255).max() <= 1


def saved(image, form="TIFF", **settings):
    stream = io.BytesIO()
    image.save(stream, form, **settings)
    return stream.getvalue()


def test_inks_come_to_light():
    inks = np.random.default_rng(0).integers(0, 256, (6, 6, 4)).astype(np.uint8)
    found = np.asarray(decode_image(saved(Image.fromarray(inks, "CMYK")), "x"))
    expected = (255.0 - inks[..., :3]) * (255.0 - inks[..., 3:]) / 255
    assert np.abs(found - expected).max() <= 1
    white = np.asarray(decode_image(saved(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG"), "x"))
    assert white.min() == 255  # JPEG files have their inks the other way round


def test_lightness_of_lab_comes_to_grey():
    """L* 50 is a relative luminance of ((50 + 16) / 116)^3 = 0.184, which sRGB encodes as 1.055 * 0.184^(1 / 2.4) - 0.055."""
    for channels in (1, 3):
        found = np.asarray(decode_image(saved(Image.new("LAB", (2, 2), (128, 128, 128))), "x", channels))
        assert np.abs(found - 255 * 0.467).max() <= 1.5


def test_a_palette_and_a_colour_with_transparency():
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 0, 255, 9, 9, 9])
    image.putdata([0, 1, 2])
    content = saved(image, "PNG", transparency=bytes([255, 128, 0]))
    assert np.abs(np.asarray(decode_image(content, "x"))[0].astype(int) - [[255, 0, 0], [127, 127, 255], [255] * 3]).max() <= 1
    image = Image.fromarray(np.array([[[1, 2, 3], [1, 2, 4]]], np.uint8))
    found = np.asarray(decode_image(saved(image, "PNG", transparency=(1, 2, 3)), "x"))
    assert found[0].tolist() == [[255, 255, 255], [1, 2, 4]]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image.new("I", (4, 4), 300), "x.tif holds whole numbers of 32 bits, whose range is not known; convert it to 8 or 16"),
        (Image.new("F", (4, 4), 0.5), "x.tif holds floating-point numbers, whose range is not known"),
    ],
)
def test_numbers_that_stand_for_no_known_light_are_refused(image, message):
    with pytest.raises(DataError, match=message):
        decode_image(saved(image), "x.tif")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM"])
def test_damaged_bytes_are_an_image_or_a_sentence(form):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (12, 10, 3)).astype(np.uint8))
    content, refused = saved(image, form), 0
    for _ in range(200):
        damaged = np.frombuffer(content, np.uint8).copy()[: rng.integers(10, len(content) + 1)]
        # Low places more often: headers are what decoders trip over. Sizes of a gigapixel would only cost memory.
        places = (len(damaged) * rng.random(3) ** 3).astype(int)
        damaged[places] = rng.integers(0, 256, 3)
        try:
            decode_image(damaged.tobytes(), "x")
        except DataError as error:
            refused += 1
            assert "the image x" in str(error)
    assert 20 < refused


def test_photographs_stand_upright():
    image, stream = Image.new("RGB", (6, 4)), io.BytesIO()
    exif = image.getexif()
    exif[0x0112] = 6  # rotated by 90 degrees
    image.save(stream, "JPEG", exif=exif)
    assert decode_image(stream.getvalue(), "x").size == (4, 6)


def test_too_many_pixels_are_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(DataError, match="x cannot be decoded: .*pixels"):
        decode_image(png("red"), "x")


def test_crop_takes_the_middle_and_stretch_takes_all(tmp_path):
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, 2:6] = 255
    Image.fromarray(pixels).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png", Preprocessor(4, 4)).min() == 255
    stretched = read_image(tmp_path / "x.png", Preprocessor(4, 4, "stretch", resample="nearest"))
    assert stretched[0, :, 0].tolist() == [0, 255, 255, 0]
    assert read_image(tmp_path / "x.png", Preprocessor(4, 4), channels=1).shape == (4, 4, 1)
    with pytest.raises(DataError, match="no such file"):
        read_image(tmp_path / "y.png", Preprocessor(4, 4))


def processors():
    """transformers' processors on Pillow, by the form of their config."""
    import transformers.models.clip as clip
    import transformers.models.vit as vit

    names = ("image_processing_pil_clip", "CLIPImageProcessorPil"), ("image_processing_pil_vit", "ViTImageProcessorPil")
    for module, (file, name) in zip((clip, vit), names, strict=True):
        yield getattr(__import__(f"{module.__name__}.{file}", fromlist=[name]), name)


@pytest.mark.parametrize("size", [(50, 31), (31, 50), (224, 224), (333, 500)])
@pytest.mark.parametrize("which", [0, 1], ids=["clip", "vit"])
def test_pixels_are_those_of_transformers(which, size, tmp_path):
    processor = list(processors())[which]()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8))
    expected = processor(image, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
    processor.save_pretrained(tmp_path)
    ours = read_preprocessor(tmp_path, Preprocessor(1, 1))
    pixels = fit_image(image, ours) / 255
    np.testing.assert_allclose((pixels - np.array(ours.mean)) / np.array(ours.std), expected, atol=1e-5)
    again = type(processor)(**to_json(ours, "CLIPImageProcessor"))
    np.testing.assert_allclose(again(image, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0), expected, atol=1e-5)


def test_old_and_odd_preprocessor_files():
    default = Preprocessor(224, 224)
    old = from_json({"size": 224, "crop_size": 224, "do_center_crop": True, "resample": 3}, "x", default)
    assert (old.fit, old.shortest, old.height) == ("crop", 0, 224)
    assert from_json({"size": 384, "resample": 2}, "x", default) == Preprocessor(384, 384, "stretch", resample="bilinear")
    deit = from_json({"size": 256, "crop_size": 224, "do_center_crop": True, "resample": 3}, "x", default)
    assert (deit.shortest, deit.height) == (256, 224)
    with pytest.raises(CheckpointError, match="rescale_factor is 1.0.*do_resize is false"):
        from_json({"rescale_factor": 1.0, "do_resize": False}, "x", default)
