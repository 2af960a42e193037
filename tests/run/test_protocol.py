import pytest

from dltk.errors import LaunchError
from dltk.run.folder import NAME
from dltk.run.protocol import KINDS, Protocol, read_scales


@pytest.mark.parametrize(
    ("text", "protocol"),
    [
        ("single_crop", Protocol("single_crop")),
        ("dense=384", Protocol("dense", (384,))),
        ("ten_crop+ensemble=5", Protocol("ten_crop", members=5)),
        ("multi_scale_dense=256,384,512+ensemble=2", Protocol("multi_scale_dense", (256, 384, 512), 2)),
        ("sample", Protocol("sample")),
        ("sample=0.8", Protocol("sample", temperature=0.8)),
        ("sample=1,3", Protocol("sample", seed=3)),
        ("sample=0.75,12", Protocol("sample", temperature=0.75, seed=12)),
        ("sample=20+ensemble=2", Protocol("sample", members=2, temperature=20.0)),
    ],
)
def test_a_name_says_all_and_can_name_a_file(text: str, protocol: Protocol) -> None:
    assert Protocol.read(text) == protocol
    assert str(protocol) == text
    assert NAME.fullmatch(text)


def test_other_texts_are_no_protocols() -> None:
    for text in (
        "",
        "Ten crop",
        "dense=",
        "dense=a",
        "ten_crop+ensemble",
        "../x",
        "ten_crop\n",
        "beam=1.5",
        "sample=1,2,3",
        "sample=.5",
        "sample=1,0.5",
    ):
        assert Protocol.read(text) is None, text
    assert all(Protocol.read(kind) == Protocol(kind) for kind in KINDS)


def test_scales_are_sizes() -> None:
    assert read_scales("384, 256,512,256") == (256, 384, 512)
    for text in ("", "a", "256,", "-1", "0", "2.5"):
        with pytest.raises(LaunchError, match=r"--scales: '.*' is no list of sizes"):
            read_scales(text)
