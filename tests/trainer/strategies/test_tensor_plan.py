"""What is said of networks whose layers cannot be shared as their plans say."""

import pytest
import torch
from torch import Tensor, nn

from dltk import recipe
from dltk.errors import RecipeError
from dltk.models.alexnet import AlexNet
from dltk.models.large_vocab import LargeVocabulary
from dltk.models.mlp import MLP
from dltk.models.rnnsearch import RNNsearch
from dltk.models.seq2seq import Seq2Seq
from dltk.models.vgg import VGG11
from dltk.trainer.strategies import pipeline_plan
from dltk.trainer.strategies.tensor_plan import objections


class Planned(nn.Module):
    """Layers of several kinds under any plan."""

    def __init__(self, plan: dict[str, str]) -> None:
        super().__init__()
        self.plan = plan
        self.full = nn.Linear(8, 6)
        self.map = nn.Conv2d(4, 8, 3)
        self.grouped = nn.Conv2d(8, 8, 3, groups=2)
        self.norm = nn.LayerNorm(8)
        self.drop = nn.Dropout(0.5)

    def tensor_plan(self) -> dict[str, str]:
        """As it was given."""
        return self.plan

    def forward(self, x: Tensor) -> Tensor:
        """Nothing to the matter."""
        return x


@pytest.mark.parametrize(("plan", "devices", "said"), [
    ({}, 2, "Planned has no tensor_plan, which says what they share"),
    ({"full": "all"}, 4, "full has 6 units, no multiple of 4"),
    ({"map": "all", "grouped": "own"}, 4, "grouped has 2 groups, no multiple of 4"),
    ({"map": "all", "grouped": "all"}, 2, "grouped has 2 groups, and the tensor_plan says that it reads all"),
    ({"map": "all", "full": "own"}, 2, "full has 1 groups, and the tensor_plan says that it reads own"),
    ({"grouped": "own"}, 2, "grouped has 2 groups, and the tensor_plan says that it reads own"),
    ({"map": "all", "norm": "all"}, 2, "norm is a LayerNorm, and only nn.Linear and nn.Conv2d are shared"),
    ({"drop": "all"}, 2, "drop is a Dropout, and only nn.Linear and nn.Conv2d are shared"),
    ({"fc9": "all"}, 2, "the tensor_plan of Planned says 'fc9: all', no layer that reads all, own or scores"),
    ({"map": "scores"}, 2, "map is a Conv2d, and only nn.Linear gives scores"),
    ({"map": "all", "full": "scores"}, 2, "the tensor_plan of Planned names others beside the layer of the scores"),
    ({"full": "rows"}, 2, "the tensor_plan of Planned says 'full: rows', no layer that reads all, own or scores"),
])  # fmt: skip
def test_what_is_wrong_with_a_plan(plan: dict[str, str], devices: int, said: str) -> None:
    assert list(objections(Planned(plan), "wide", devices)) == [said]


def test_what_is_right() -> None:
    assert list(objections(Planned({"map": "all", "grouped": "own", "drop": "all", "full": "all"}), "wide", 2)) == []
    with torch.device("meta"):
        for network in (AlexNet(), VGG11()):
            assert list(objections(network, "wide", 8)) == []
        for words in (Seq2Seq(), RNNsearch()):
            assert list(objections(words, "wide", 8)) == []
        sampled = "LargeVocabulary has no tensor_plan, which says what they share"
        assert list(objections(LargeVocabulary(), "wide", 2)) == [sampled]
        assert list(objections(VGG11(num_classes=10), "wide", 4)) == ["fc8 has 10 units, no multiple of 4"]
        for network in (AlexNet(), AlexNet(response="halves"), AlexNet(response="none")):
            assert list(objections(network, "groups", 2)) == []
        assert list(objections(AlexNet(groups=1), "groups", 8)) == []
        assert list(objections(AlexNet(response="halves"), "groups", 4)) == [
            f"{name} has 2 groups, no multiple of 4" for name in ("norm1", "conv2", "norm2", "conv4", "conv5")
        ]
        assert list(objections(VGG11(), "groups", 2)) == ["VGG11 has no group_plan, which says what they share"]
        plain = MLP(num_classes=10, hidden_sizes=[4])
        assert list(objections(plain, "wide", 2)) == ["MLP has no tensor_plan, which says what they share"]


def test_a_recipe_says_so_before_the_run() -> None:
    with pytest.raises(RecipeError) as caught:
        recipe.load("mlp_digits", "launch.tensor=2", "launch.devices=2")
    assert str(caught.value) == (
        "override 'launch.tensor=2': 2 given, and MLP has no tensor_plan, which says what they share. "
        "Set it to 1, or change the network."
    )
    assert recipe.load("alexnet_rendered", "cluster/tensor.yaml").settings["launch"]["tensor"] == 2
    assert recipe.load("alexnet_rendered", "cluster/groups.yaml").settings["launch"]["tensor_plan"] == "groups"
    with pytest.raises(RecipeError, match="2 given, and VGG16 has no group_plan, which says what they share"):
        recipe.load("vgg16_icons", "cluster/groups.yaml", "launch.devices=2")


def test_layers_lie_on_as_many_devices_as_there_are() -> None:
    with torch.device("meta"):
        assert [list(pipeline_plan.objections(Seq2Seq(num_layers=4), devices)) for devices in (2, 3, 4)] == [[], [], []]
        five = list(pipeline_plan.objections(Seq2Seq(num_layers=4), 5))
        assert five == ["the layers of Seq2Seq can lie on 4 devices at most"]
    assert recipe.load("seq2seq_wmt14_enfr", "cluster/pipeline.yaml").settings["launch"]["pipeline"] == 4
    with pytest.raises(RecipeError) as caught:
        recipe.load("rnnsearch_number_names", "cluster/pipeline.yaml")
    assert str(caught.value).endswith(
        "4 given, and RNNsearch has no pipeline_stages, which says on how many devices its layers can lie. "
        "Set less, or change the network."
    )
