"""Decoding and fitting: transparency on white, EXIF's rotation, sizes as transformers' processors make them."""

import io

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
