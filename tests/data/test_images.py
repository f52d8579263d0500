"""Folders of images: what is read, what is checked, and what is said of what cannot be read."""

import zipfile

import numpy as np
import pytest
from PIL import Image

from heedful.data import images
from heedful.data.images import ImageClasses, ImageFolderSettings
from heedful.errors import DataError


def drawing(seed, side=56):
    """Dark on light: the grey of each 2 x 2 block is one number."""
    grey = np.random.default_rng(seed).integers(0, 256, (28, 28), dtype=np.uint8)
    return np.kron(grey, np.ones((side // 28, side // 28), np.uint8)), 255 - grey


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(("latin/a", "latin/b", "greek/a")):
        (tmp_path / "drawn" / name).mkdir(parents=True)
        for copy in range(3):
            Image.fromarray(drawing(10 * number + copy)[0]).save(tmp_path / "drawn" / name / f"{copy}.png")
    return tmp_path / "drawn"


def read(folder, least=1, **more):
    return images.read(ImageFolderSettings(folders=(folder,), **more), "train", least)


def test_a_class_is_a_folder_and_a_pixel_the_mean_of_its_area(folder):
    classes, found = read(folder)
    assert classes.names == ("greek/a", "latin/a", "latin/b")
    assert classes.counts.tolist() == [3, 3, 3]
    assert classes.starts.tolist() == [0, 3, 6]
    np.testing.assert_array_equal(classes.images[3], drawing(0)[1])
    np.testing.assert_array_equal(classes.images[2], drawing(22)[1])
    assert (found.classes, found.images) == (3, 9)
    assert not found.findings


def test_an_archive_is_read_as_its_folder_is(folder):
    archive = folder.parent / "drawn.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for path in folder.rglob("*.png"):
            opened.write(path, f"outer/{path.relative_to(folder)}")
        opened.writestr("__MACOSX/outer/latin/a/._0.png", b"nothing")
    plain, zipped = read(folder)[0], read(archive)[0]
    assert zipped.names == plain.names
    np.testing.assert_array_equal(zipped.images, plain.images)


def test_what_is_written_is_what_is_opened(folder, tmp_path):
    classes, _ = read(folder)
    classes.write(tmp_path / "kept")
    opened = ImageClasses.open(tmp_path / "kept")
    assert isinstance(opened.images, np.memmap)
    np.testing.assert_array_equal(opened.images, classes.images)
    assert (opened.names, opened.counts.tolist()) == (classes.names, classes.counts.tolist())


def test_classes_are_chosen_by_a_file_with_or_without_rotations(folder, tmp_path):
    chosen = tmp_path / "chosen.txt"
    chosen.write_text("latin/a/rot000\nlatin/a/rot090\nlatin/b/rot000\n")
    assert read(folder, classes=chosen)[0].names == ("latin/a", "latin/b")
    assert read(folder, without=chosen)[0].names == ("greek/a",)
    chosen.write_text("latin/c\n")
    with pytest.raises(DataError, match=r"names 1 classes that are not in .*: latin/c"):
        read(folder, classes=chosen)


def test_light_ink_and_images_that_are_not_square(tmp_path):
    (tmp_path / "x").mkdir()
    light = np.zeros((28, 14), np.uint8)
    light[:, 7:] = 200
    Image.fromarray(light).save(tmp_path / "x" / "1.png")
    (classes, _) = images.read(ImageFolderSettings(folders=(tmp_path,), ink="light"), "train", 1)
    expected = np.zeros((28, 28), np.uint8)
    expected[:, 14:21] = 200
    np.testing.assert_array_equal(classes.images[0], expected)


def test_what_is_wrong_is_counted_and_named(folder):
    (folder / "latin" / "a" / "9.png").write_bytes(b"no image")
    (folder / "latin" / "c").mkdir()
    Image.fromarray(drawing(0)[0]).save(folder / "latin" / "c" / "0.png")
    classes, found = read(folder, least=2)
    assert "latin/c" not in classes.names
    assert found.findings["fewer than 2 images, left out"].places == ["latin/c (1)"]
    (unreadable,) = found.findings["cannot be read, left out"].places
    assert "latin/a/9.png" in unreadable
    (same,) = found.findings["the same as another"].places
    assert same == f"{folder}/latin/c/0.png = {folder}/latin/a/0.png"


def test_a_folder_that_holds_one_folder_is_part_of_the_name(folder):
    for name in ("a", "b"):
        for image in (folder / "latin" / name).iterdir():
            image.unlink()
    assert read(folder)[0].names == ("greek/a",)


def test_one_class_of_two_folders_is_told(folder):
    settings = ImageFolderSettings(folders=(folder / "latin", folder / "greek"))
    classes, found = images.read(settings, "train", 1)
    assert (classes.names, classes.counts.tolist()) == (("a", "b"), [6, 3])
    assert found.findings["of several folders, taken for one"].places == [
        f"a ({folder}/latin, {folder}/greek)"
    ]


def test_numbers_of_16_bits_are_scaled_and_those_without_a_scale_refused(tmp_path):
    grey, ink = drawing(1)
    Image.fromarray(grey.astype(np.uint16) * 256 + 7).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(images.decode((tmp_path / "deep.png").read_bytes()), ink)
    Image.fromarray((grey / 255).astype(np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(ValueError, match="mode F, without a scale: save it with 8 bits"):
        images.decode((tmp_path / "float.tif").read_bytes())


def test_what_two_splits_share_is_found(folder, tmp_path):
    train, test = read(folder), images.read(ImageFolderSettings(folders=(folder,)), "test", 1)
    found = {"train": train[1], "test": test[1]}
    images.compare(found, {"train": train[0], "test": test[0]})
    assert found["test"].findings["a class of train too"].places == ["greek/a", "latin/a", "latin/b"]
    assert found["test"].findings["an image of train too"].count == 9
    assert found["train"].findings.get("a class of test too") is None


def test_what_is_missing_is_said(folder, tmp_path):
    with pytest.raises(DataError, match="no folder of images"):
        read(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no class with 4 images or more"):
        read(folder, least=4)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no image in"):
        read(tmp_path / "empty")
    (tmp_path / "a.zip").write_bytes(b"PK no")
    with pytest.raises(DataError, match="cannot be read as a zip archive"):
        read(tmp_path / "a.zip")
