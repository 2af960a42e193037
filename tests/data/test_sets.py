"""Digits, MNIST from IDX files that the tests write, and folders of pictures, whole and damaged."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dltk.data.datamodule import DataModule
from dltk.data.dataset import check_data, fingerprint, keys_of, readable
from dltk.data.digits import Digits
from dltk.data.images import Images, _list, read_image
from dltk.data.loader import EvalLoader, Reader
from dltk.data.mnist import Mnist, read_idx
from dltk.data.splits import SPLITS
from dltk.errors import DataError


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    images = torch.cat([Digits(one).images for one in ("train", "val", "test")]).sum((1, 2, 3))
    published = torch.from_numpy(load_digits().images) * 255 / 16
    assert sorted(images.tolist()) == sorted(published.round().sum((1, 2)).long().tolist())
    sample = Digits("test")[5]
    assert (sample["image"].dtype, sample["image"].shape, type(sample["target"])) == (torch.uint8, (1, 8, 8), int)


@pytest.mark.parametrize(("size", "box"), [(16, 16), (28, 24), (32, 24)])
def test_enlarged_digits_stand_in_the_middle(size, box):
    images = Digits("train", image_size=size).images
    border = (size - box) // 2
    assert images.shape == (1258, 1, size, size)
    assert images[:, :, border : border + box, border : border + box].sum() == images.sum()
    small = Digits("train").images.float().mean().item()
    assert images.float().mean().item() == pytest.approx(small * (box / size) ** 2, rel=0.02)


def test_mnist_excerpt_is_mlxtends():
    from dltk.data.mnist import _read_excerpt

    images, targets = _read_excerpt()
    assert images.shape == (5000, 1, 28, 28)
    assert torch.bincount(targets).tolist() == [500] * 10
    assert images.max() == 255
    padded = Mnist("val", variant="5000", image_size=32)
    plain = Mnist("val", variant="5000")
    assert torch.equal(padded.images[:, :, 2:30, 2:30], plain.images)
    assert padded.images.sum() == plain.images.sum()


def test_digits_that_are_held_out_are_in_no_part_and_the_others_stay_as_they_are():
    for split in SPLITS:
        whole, part = Mnist(split, variant="5000"), Mnist(split, variant="5000", held_out=[7, 9])
        left = ~torch.isin(whole.targets, torch.tensor([7, 9]))
        assert torch.equal(part.images, whole.images[left])
        assert torch.equal(part.targets, whole.targets[left])
        assert part.keys == [key for key, stays in zip(whole.keys, left.tolist(), strict=True) if stays]
    for digits in ([10], list(range(10))):
        with pytest.raises(DataError, match=r"data\.held_out: .* are not some of the digits 0 to 9"):
            Mnist("train", variant="5000", held_out=digits)


def test_digits_that_are_aligned_stand_upright_in_the_middle():
    images = Mnist("test", variant="5000", image_size=32, aligned=True).images[::25, 0].double()  # (40, 32, 32)
    at = torch.arange(32).double() - 15.5
    amount = images.sum((1, 2))
    across, down = (images.sum(1) @ at) / amount, (images.sum(2) @ at) / amount
    assert max(across.abs().max(), down.abs().max()) < 0.15
    below, right = at - down[:, None], at - across[:, None]
    slant = torch.einsum("nij,ni,nj->n", images, below, right) / torch.einsum("nij,ni->n", images, below**2)
    assert slant.abs().max() < 0.05
    plain = Mnist("test", variant="5000", image_size=32).images[::25, 0].double()
    assert (images.sum((1, 2)) / plain.sum((1, 2)) - 1).abs().max() < 0.15  # no ink is lost
    assert ((plain.sum(1) @ at) / plain.sum((1, 2))).abs().max() > 0.9


def test_digits_in_four_turns_are_forty_classes():
    plain = Mnist("train", variant="5000", held_out=[0, 1])
    turned = Mnist("train", variant="5000", held_out=[0, 1], turns=4)
    count = len(plain)
    assert len(turned) == 4 * count == len(set(turned.keys))
    assert torch.equal(turned.images[:count], plain.images)
    assert turned.keys[:count] == plain.keys
    for turn in range(1, 4):
        number = turn * count + 100
        assert torch.equal(turned.images[number], plain.images[100].rot90(turn, (1, 2)))
        assert turned.targets[number] == plain.targets[100] + 10 * turn
    assert turned.classes[23] == "3, half turned"
    test = Mnist("test", variant="5000", held_out=[0, 1], turns=4)
    assert torch.equal(test.images, Mnist("test", variant="5000", held_out=[0, 1]).images)


def test_too_small_an_image_is_refused():
    with pytest.raises(DataError, match=r"data.image_size: 20 is less than MNIST's 28 pixels\. Set at least 28\."):
        Mnist("train", variant="5000", image_size=20)
    with pytest.raises(DataError, match=r"data\.image_size: 7"):
        Digits("train", image_size=7)


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_mnist(folder: Path, *, zipped: bool = False, train: int = 60, test: int = 20) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    numbers = np.random.default_rng(0)
    for stem, count in (("train", train), ("t10k", test)):
        images = numbers.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for name, array in ((f"{stem}-images-idx3-ubyte", images), (f"{stem}-labels-idx1-ubyte", labels)):
            if zipped:
                (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
            else:
                (folder / name).write_bytes(idx(array))


@pytest.mark.parametrize(("folder", "zipped"), [(".", False), ("mnist", True), ("MNIST/raw", False)])
def test_full_mnist_is_found_and_split(tmp_path, folder, zipped):
    write_mnist(tmp_path / folder, zipped=zipped)
    sets = {one: Mnist(one, str(tmp_path)) for one in ("train", "val", "test")}
    assert {one: len(part) for one, part in sets.items()} == {"train": 50, "val": 10, "test": 20}
    assert torch.bincount(sets["val"].targets).tolist() == [1] * 10
    assert sets["test"].keys[3] == "mnist/test/00003"
    assert check_data(Mnist, {"image_size": 32}, str(tmp_path)).image == (1, 32, 32)


def test_missing_mnist_is_one_line_with_a_remedy(tmp_path):
    with pytest.raises(DataError, match="data_dir: is not set, and the full MNIST is read from files"):
        check_data(Mnist, {}, None)
    with pytest.raises(DataError, match=r"holds no MNIST: .* or set data.download=true"):
        check_data(Mnist, {}, str(tmp_path))


def damage(kind: str, good: bytes) -> bytes:
    return {
        "cut off": good[:-1],
        "cut head": good[:9],
        "empty": b"",
        "longer": good + b"x",
        "wrong magic": b"\x00\x00\x0d\x03" + good[4:],
        "huge": good[:4] + b"\xff" * 12 + good[16:],
        "cut gzip": gzip.compress(good)[:-20],
        "bad gzip": b"\x1f\x8b" + b"\x00" * 50,
    }[kind]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("cut off", r"is cut off: 2352 bytes were announced for shape \(3, 28, 28\)\. Fetch it again"),
        ("cut head", "is cut off after 9 bytes"),
        ("empty", "begins with , an IDX file of 3 dimensions with 00000803"),
        ("longer", "goes on after its end"),
        ("wrong magic", "begins with 00000d03"),
        ("huge", r"more than 2\^30 are not read"),
        ("cut gzip", "is a damaged gzip file"),
        ("bad gzip", "is a damaged gzip file"),
    ],
)
def test_a_damaged_idx_file_is_named(tmp_path, kind, message):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(damage(kind, idx(np.ones((3, 28, 28), np.uint8))))
    with pytest.raises(DataError, match=message) as error:
        read_idx(path, 3)
    assert str(path) in str(error.value)


def test_labels_must_fit_the_images(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(59, np.uint8)))
    with pytest.raises(DataError, match="holds 59 labels for 60 images"):
        Mnist("train", str(tmp_path))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.full(60, 10, np.uint8)))
    with pytest.raises(DataError, match="holds the label 10, which is no digit"):
        Mnist("train", str(tmp_path))


def write_pictures(root: Path, each: int = 10) -> None:
    for shade, name in ((200, "light"), (40, "dark")):
        (root / name).mkdir(parents=True)
        for number in range(each):
            Image.new("RGB", (20 + number, 30), (shade, shade, number)).save(root / name / f"{number}.png")


def test_a_folder_of_pictures(tmp_path):
    write_pictures(tmp_path / "shades")
    (tmp_path / "shades" / "dark" / "notes.txt").write_text("no picture")
    (tmp_path / "shades" / ".cache").mkdir()
    train = Images("train", str(tmp_path), folder="shades", image_size=16)
    assert (train.classes, len(train), train.ignored) == (["dark", "light"], 14, 1)
    sample = train[0]
    assert (sample["image"].shape, sample["image"].dtype, sample["target"]) == ((3, 16, 16), torch.uint8, 0)
    assert sample["image"][0].unique().tolist() == [40]
    assert Images("val", str(tmp_path), folder="shades", image_size=8, channels=1)[0]["image"].shape == (1, 8, 8)
    assert check_data(Images, {"folder": "shades", "image_size": 8}, str(tmp_path)).sizes == {
        "train": 14,
        "val": 2,
        "test": 4,
    }
    assert check_data(Images, {"folder": "shades", "image_size": 8}, str(tmp_path)).ignored == 1


def test_damaged_samples_are_passed_over(tmp_path):
    write_pictures(tmp_path)
    train = Images("train", str(tmp_path), image_size=8)
    for key in train.keys[:3]:
        (tmp_path / key).write_bytes(b"no picture")
    assert check_data(Images, {"image_size": 8}, str(tmp_path)).image == (3, 8, 8)
    assert len(list(readable(train))) == len(train) - 3
    assert len(list(readable(train, [0, 5, 6]))) == 2
    with pytest.raises(DataError, match=r"none of 3 samples can be read; the first: .*cannot be read as a picture"):
        list(readable(train, [0, 1, 2]))


def test_too_few_pictures_to_split_are_refused(tmp_path):
    write_pictures(tmp_path, each=2)
    message = r"data\.folder: leaves the test part empty: class 'dark' has 2 pictures\. Put at least 10 of each class"
    with pytest.raises(DataError, match=message):
        check_data(Images, {"image_size": 8}, str(tmp_path))
    data = DataModule(Images, {"image_size": 8}, batch=2, data_dir=str(tmp_path), epochs=1)
    with pytest.raises(DataError, match=message):
        data.setup("test")


def test_an_empty_part_of_any_data_set_is_refused():
    class Lopsided:
        def __init__(self, split: str) -> None:
            self.count = 0 if split == "val" else 3

        def __len__(self) -> int:
            return self.count

        def __getitem__(self, number: int) -> dict:
            return {"image": torch.zeros(1, 2, 2, dtype=torch.uint8), "target": 0}

    with pytest.raises(DataError, match=r"the val part of .*Lopsided has no samples\. Give it some"):
        check_data(Lopsided, {}, None)
    with pytest.raises(DataError, match="the val part"):
        DataModule(Lopsided, batch=2, epochs=1).setup("fit")


def test_changed_data_are_noticed(tmp_path):
    def data() -> DataModule:
        _list.cache_clear()
        return DataModule(Images, {"image_size": 8}, batch=2, data_dir=str(tmp_path), epochs=1)

    write_pictures(tmp_path)
    before = data().index
    assert before == data().info()["index"]
    data().require_index(before, "runs/a/b")
    data().require_index(None, "runs/a/b")
    (tmp_path / "dark" / "3.png").rename(tmp_path / "dark" / "x.png")
    with pytest.raises(DataError, match=r"data: the data are not those of the run runs/a/b: .*\(now train 14, "):
        data().require_index(before, "runs/a/b")


def test_a_missing_picture_is_one_plain_line(tmp_path):
    with pytest.raises(DataError) as error:
        read_image(tmp_path / "none.png")
    assert str(error.value) == f"{tmp_path / 'none.png'}: no such file. Check its name and folder."
    with pytest.raises(DataError, match="is a folder, not a picture"):
        read_image(tmp_path)


def test_pictures_of_every_kind_come_out_alike(tmp_path):
    grey = Image.new("L", (8, 8), 100)
    grey.save(tmp_path / "grey.png")
    Image.fromarray(np.full((8, 8), 100 * 257, np.uint16)).save(tmp_path / "deep.png")
    Image.new("RGBA", (8, 8), (100, 100, 100, 255)).save(tmp_path / "solid.png")
    Image.new("CMYK", (8, 8), (155, 155, 155, 0)).save(tmp_path / "print.jpg")
    grey.convert("P").save(tmp_path / "palette.gif")
    for file in sorted(tmp_path.iterdir()):
        pixels = read_image(file, 4)
        assert pixels.shape == (3, 4, 4)
        assert abs(pixels.int() - 100).max() <= 2, file.name


@pytest.mark.parametrize(("background", "value"), [("white", 255), ("black", 0)])
def test_the_background_shines_through(tmp_path, background, value):
    Image.new("RGBA", (8, 8), (100, 100, 100, 0)).save(tmp_path / "clear.png")
    assert read_image(tmp_path / "clear.png", 4, channels=1, background=background).unique().tolist() == [value]


def test_a_turned_photograph_is_put_upright(tmp_path):
    picture = Image.new("L", (6, 4), 0)
    exif = picture.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg", channels=1).shape == (1, 6, 4)


def bomb(path: Path, side: int) -> None:
    """A small file that announces a huge picture."""
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [9_000, 40_000])
def test_a_picture_bomb_is_not_decoded(tmp_path, side):
    bomb(tmp_path / "bomb.png", side)
    with pytest.raises(DataError, match=r"too many pixels|pixels, \d+ are allowed"):
        read_image(tmp_path / "bomb.png", 8)


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_a_broken_picture_is_named(tmp_path, content):
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.png: cannot be read as a picture"):
        read_image(tmp_path / "broken.png", 8)


def test_damaged_pictures_keep_their_places_with_weight_nothing(tmp_path):
    write_pictures(tmp_path)
    test = Images("test", str(tmp_path), image_size=8)
    broken = test.keys[1]
    (tmp_path / broken).write_bytes(b"no picture")
    bomb(tmp_path / test.keys[2], 9_000)
    from dltk.data.loader import Damage

    counts = Damage(2)
    (batch,) = EvalLoader(Reader(test, test.keys), len(test), batch=10, damage=counts)
    assert batch["weight"].tolist() == [1, 0, 0, 1]
    assert batch["info"].keys == tuple(test.keys)
    assert batch["image"][1].sum() == 0
    assert set(counts.of("test")) == set(test.keys[1:3])
    with pytest.raises(DataError, match=r"data.max_bad: 2 damaged sample\(s\), 1 allowed; the last is"):
        list(EvalLoader(Reader(test, test.keys), len(test), batch=10, damage=Damage(1)))


def test_a_folder_without_classes_is_refused(tmp_path):
    with pytest.raises(DataError, match="is no folder"):
        Images("train", str(tmp_path / "nowhere"), image_size=8)
    with pytest.raises(DataError, match=r"holds no pictures in its 0 folder"):
        Images("train", str(tmp_path), image_size=8)


def test_a_data_set_without_keys_gets_split_and_number():
    keys = keys_of([1, 2, 3], "val")
    assert list(keys) == ["val/0", "val/1", "val/2"]
    assert fingerprint({"a": keys}) == fingerprint({"a": list(keys)}) != fingerprint({"a": ["val/0", "val/1", "x"]})


def test_a_data_set_must_take_a_split():
    class Whole:
        def __init__(self, size: int) -> None:
            self.size = size

    with pytest.raises(DataError, match=r"Whole takes no argument 'split'\. Give it one: train, val or test"):
        check_data(Whole, {"size": 3}, None)
