"""Scenes of shapes: the captions are true, what is false is called so, and a scene is the same whoever asks."""

import numpy as np
import pytest
import torch

from dltk.data.datamodule import DataModule
from dltk.data.shape_scenes import (
    COLOURS,
    KINDS,
    RELATIONS,
    Object,
    ShapeScenes,
    caption_of,
    drawn,
    holds,
    judge,
    read,
    written,
)
from dltk.errors import DataError
from dltk.layers.tokens import EOS, PAD, UNK

MANY = np.arange(600)
RED = Object("red", "circle", 1, 2, 8, 9)
BLUE = Object("blue", "square", 12, 20, 19, 27)  # below RED, and right of it
WHITE = Object("white", "cross", 2, 20, 9, 27)  # level with RED, and right of it


def test_captions_are_true_of_what_is_drawn():
    part = ShapeScenes("train", objects=3)
    batch = part.batch(MANY)
    seen = set()
    for image, (caption,), scene in zip(batch["image"], batch["references"], batch["scene"], strict=True):
        verdict = part.judge(caption, scene)
        assert verdict.true
        objects = read(scene)
        assert len({one.kind for one in objects}) == 3
        for one in objects:  # found again in the pixels: those of its colour in its box, which it touches on all sides
            inside = (image.permute(1, 2, 0) == torch.tensor(COLOURS[one.colour])).all(2)
            box = inside[one.top : one.bottom, one.left : one.right]
            assert box.any(0)[[0, -1]].all()
            assert box.any(1)[[0, -1]].all()
            others = [other for other in objects if other.colour == one.colour]
            assert int(inside.sum()) == sum(
                int(inside[other.top : other.bottom, other.left : other.right].sum()) for other in others
            )
        seen |= {word for word in RELATIONS if f" {word} " in caption}
    assert seen == set(RELATIONS)


def test_the_first_object_and_the_relation_follow_from_the_scene():
    assert caption_of([RED, BLUE]) == "a red circle above a blue square"
    assert caption_of([RED, WHITE]) == "a red circle left of a white cross"
    assert caption_of([BLUE, WHITE]) == "a blue square below a white cross"
    for scene in map(read, ShapeScenes("val").batch(MANY)["scene"]):
        assert [KINDS.index(one.kind) for one in scene] == sorted(KINDS.index(one.kind) for one in scene)


@pytest.mark.parametrize(
    ("caption", "grammar", "objects", "true"),
    [
        ("a red circle above a blue square", True, True, True),
        ("a red circle left of a blue square", True, True, True),  # not the right one, and true
        ("a blue square below a red circle", True, True, True),
        ("a blue square right of a red circle", True, True, True),
        ("a red circle below a blue square", True, True, False),
        ("a red circle right of a blue square", True, True, False),
        ("a white cross above a red circle", True, True, False),  # level
        ("a white cross below a red circle", True, True, False),
        ("a red square above a blue square", True, False, False),
        ("a blue circle above a blue square", True, False, False),
        ("a green triangle above a blue square", True, False, False),
        ("a red circle above a red circle", True, True, False),
        ("red circle above a blue square", False, False, False),
        ("a red circle above a blue", False, False, False),
        ("a red circle above a blue square a", False, False, False),
        ("a red circle left a blue square", False, False, False),
        ("", False, False, False),
    ],
)
def test_what_a_caption_says_is_judged(caption, grammar, objects, true):
    verdict = judge(caption, [RED, BLUE, WHITE])
    assert verdict[:3] == (grammar, objects, true)
    assert len(verdict.boxes) == len(caption.split())


def test_words_that_name_an_object_know_its_box():
    boxes = judge("a red circle left of a blue square", [RED, BLUE]).boxes
    assert boxes == (None, RED, RED, None, None, None, BLUE, BLUE)
    assert judge("a red circle above a blue square", [RED, BLUE]).boxes == (None, RED, RED, None, None, BLUE, BLUE)


def test_relations_are_each_other_s_opposites_and_never_both():
    scenes = map(read, ShapeScenes("val", objects=4).batch(MANY)["scene"])
    for scene in scenes:
        for one in scene:
            for other in scene:
                if one is not other:
                    assert holds("above", one, other) == holds("below", other, one)
                    assert holds("left of", one, other) == holds("right of", other, one)
                    assert not (holds("above", one, other) and holds("below", one, other))
                    assert any(holds(relation, one, other) for relation in RELATIONS)


def test_a_scene_as_text_comes_back():
    assert read(written([RED, BLUE])) == [RED, BLUE]


def test_shapes_differ_by_more_than_their_size():
    areas = {shape: int(drawn([Object("red", shape, 0, 0, 9, 9)], 24, 0)[..., 0].astype(bool).sum()) for shape in
             ("circle", "square", "triangle", "cross")}  # fmt: skip
    assert areas["square"] == 81
    assert areas["circle"] == pytest.approx(81 * np.pi / 4, rel=0.1)
    assert areas["triangle"] == pytest.approx(81 / 2, abs=9)
    assert areas["cross"] == 81 * 5 // 9


def test_samples_are_the_same_one_by_one_and_many_at_once_and_differ_by_split_and_seed():
    part, numbers = ShapeScenes("train"), np.array([7, 0, 10**11])
    batch, one = part.batch(numbers), part[10**11]
    assert torch.equal(batch["image"][2], one["image"])
    assert batch["references"][2] == one["references"]
    width = len(one["target"])
    assert torch.equal(batch["target"][2, :width], one["target"])
    assert not batch["target"][2, width:].any()
    for other in (ShapeScenes("val"), ShapeScenes("train", seed=1)):
        assert other.batch(numbers)["scene"] != batch["scene"]
    assert not set(part.batch(MANY)["scene"]) & set(ShapeScenes("test").batch(MANY)["scene"])


def test_targets_are_the_captions_words_and_their_end():
    part = ShapeScenes("train")
    batch = part.batch(MANY)
    assert UNK not in batch["target"]
    for target, (caption,) in zip(batch["target"], batch["references"], strict=True):
        row = [token for token in target.tolist() if token != PAD]
        assert row[-1] == EOS
        assert part.vocabulary.decode(row[:-1]) == caption
    assert len(part.vocabulary) == 20


def test_it_goes_through_the_loaders_on_any_world():
    def keys(world):
        modules = [DataModule(ShapeScenes, {"held_out": 7}, batch=4, steps=2) for _ in range(world)]
        loaders = [one.eval_dataloader("val", rank=rank, world=world) for rank, one in enumerate(modules)]
        batches = [batch for loader in loaders for batch in loader]
        return sorted(
            (key, *references)
            for batch in batches
            for key, references, weight in zip(
                batch["info"].keys, batch["references"], batch["weight"].tolist(), strict=False
            )
            if weight
        )

    assert len(keys(1)) == 7
    assert keys(3) == keys(1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 20}, r"data\.image_size: 20 pixels are too few"),
        ({"objects": 1}, r"data\.objects: 1 shapes"),
        ({"objects": 10}, r"data\.objects: 10 shapes, where a caption names two and there is room for 9"),
        ({"held_out": 0}, r"data\.held_out: 0 scenes"),
    ],
)
def test_what_is_refused(settings, message):
    with pytest.raises(DataError, match=message):
        ShapeScenes("train", **settings)
