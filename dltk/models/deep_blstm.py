"""Deep bidirectional LSTM: layers of memory cells that read speech both ways, and a transducer on top of them.

Graves, Mohamed, Hinton, "Speech recognition with deep recurrent neural networks", ICASSP (2013): cells, equations 3 to
7; layers, 8 to 12; section 3.1, connectionist temporal classification; section 3.2, the transducer, equations 14 to
17. Table 1's networks are `DeepBLSTM` with these settings, in the paper's names:

    CTC-3l-250h, the default, 3.8 M weights; CTC-1l-622h and the like: other numbers of layers and cells;
    CTC-3l-421h-uni: bidirectional false; CTC-3l-500h-tanh: cell tanh

Trans-3l-250h is `BLSTMTransducer`; PreTrans-3l-250h the same, begun with the layers of a `DeepBLSTM` that learnt by CTC
and the cells of a `NextLabelNet` that learnt which label follows in the transcripts.

Label 0 is the blank, and stands behind the shorter ones of several targets.

Departs from the paper: nothing.
"""

# Shapes: b utterances, t frames, x numbers of a frame, u labels of a target, k labels, m numbers that the layers write,
# n cells of a layer.

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dltk.layers import expect
from dltk.layers.peephole_lstm import PeepholeLSTM


class TanhLayer(nn.Module):
    """One layer of tanh units for each direction; as `PeepholeLSTM` is used.

    Args:
        input_size: numbers read at each step (x).
        hidden_size: units of a direction (n).
        bidirectional: read from the end too.
    """

    def __init__(self, input_size: int, hidden_size: int, *, bidirectional: bool) -> None:
        super().__init__()
        d = 1 + bidirectional
        self.inputs = nn.Parameter(torch.empty(d, input_size, hidden_size))
        self.recurrent = nn.Parameter(torch.empty(d, hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.empty(d, hidden_size))

    def forward(self, inputs: Tensor, real: Tensor) -> Tensor:
        """Inputs (b, t, x), and which are no padding (b, t), to the units after each of them (b, t, dn)."""
        ways = []
        for way, (weight, recurrent, bias) in enumerate(zip(self.inputs, self.recurrent, self.bias, strict=True)):
            h = inputs.new_zeros(len(inputs), recurrent.shape[0])  # (b, n)
            found = []
            projected = (torch.matmul(inputs, weight) + bias).unbind(1)
            steps = list(zip(projected, real[..., None].unbind(1), strict=True))
            for a, mask in reversed(steps) if way else steps:  # (b, n), (b, 1)
                h = torch.tanh(a + h @ recurrent) * mask
                found.append(h)
            ways.append(torch.stack(found[::-1] if way else found, dim=1))
        return torch.cat(ways, dim=2)


class _Layers(nn.Module):
    """The layers that read frames, each what the one before wrote (equations 11 and 12)."""

    def __init__(
        self,
        *,
        num_classes: int,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bidirectional: bool,
        cell: Literal["lstm", "tanh"],
        first_weights: float,
    ) -> None:
        super().__init__()
        expect.at_least("num_classes", num_classes, 1, "no label")
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
        for key, size in sizes.items():
            expect.at_least(key, size, 1, "nothing")
        expect.at_least("first_weights", first_weights, 0, "half the width of an interval")
        self.num_classes, self.input_size, self.first_weights = num_classes, input_size, first_weights
        make = PeepholeLSTM if cell == "lstm" else TanhLayer
        self.size = hidden_size * (1 + bidirectional)  # m
        before = [input_size, *([self.size] * (num_layers - 1))]
        self.layers = nn.ModuleList(make(x, hidden_size, bidirectional=bidirectional) for x in before)

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """U(-0.1, 0.1), as section 4 has it."""
        nn.init.uniform_(parameter, -self.first_weights, self.first_weights, generator=generator)

    def read(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Frames (b, t, x), of which so many are real (b,), to what the last layer writes (b, t, m)."""
        if frames.dim() != 3 or frames.shape[2] != self.input_size:
            what = f"frames are {tuple(frames.shape)}, the network takes (b, t, {self.input_size})"
            raise ValueError(f"{what}. Set model.input_size")
        real = torch.arange(frames.shape[1], device=frames.device) < lengths[:, None]  # (b, t)
        for layer in self.layers:
            frames = layer(frames, real)
        return frames


class DeepBLSTM(_Layers):
    """The network whose scores of labels and blank at each frame CTC sums over alignments.

    Args:
        num_classes: labels (k); the blank is one more.
        input_size: numbers of a frame (x).
        hidden_size: cells of each layer and direction (n).
        num_layers: layers.
        bidirectional: read from the end too.
        cell: lstm, or tanh for plain units.
        first_weights: all are drawn from U(-w, w), w this number.

    Raises:
        ValueError: a setting is impossible.
    """

    def __init__(
        self,
        *,
        num_classes: int = 61,
        input_size: int = 123,
        hidden_size: int = 250,
        num_layers: int = 3,
        bidirectional: bool = True,
        cell: Literal["lstm", "tanh"] = "lstm",
        first_weights: float = 0.1,
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            input_size=input_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            cell=cell,
            first_weights=first_weights,
        )
        self.output = nn.Linear(self.size, num_classes + 1)
        for name, parameter in self.named_parameters():
            self.initialise(name, parameter, None)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Frames (b, t, x), of which so many are real (b,), to scores of blank and labels (b, t, k + 1)."""
        return self.output(self.read(frames, lengths))


class _LabelReader(nn.Module):
    """Cells that read the labels written so far, and what they give for the next one."""

    num_classes: int
    prediction: PeepholeLSTM
    of_labels: nn.Linear  # W_ph
    output: nn.Linear  # equation 17

    def labels(self, target: Tensor) -> Tensor:
        """Targets (b, u) to what labels give where two networks meet, before any and after each (b, u + 1, n)."""
        before = F.pad(target, (1, 0))  # (b, u + 1)
        real = torch.ones_like(before, dtype=torch.bool)  # what stands behind a target's end changes nothing before
        return self.of_labels(self.prediction(self.one_hot(before), real))

    def start(self, count: int) -> Tensor:
        """The state of the prediction before any label (2, b, n)."""
        return self.output.weight.new_zeros(2, count, self.output.in_features)

    def step(self, labels: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The label before (b,), 0 at the begin, and a state to what it gives where the networks meet, and the next."""
        state = self.prediction.step(self.one_hot(labels), state)
        return self.of_labels(state[0]), state

    def one_hot(self, labels: Tensor) -> Tensor:
        """Labels (...,) to vectors (..., k); of none, zeros."""
        places = torch.arange(1, self.num_classes + 1, device=labels.device)
        return (labels[..., None] == places).to(self.output.weight.dtype)


class NextLabelNet(_LabelReader):
    """The transducer's half that reads labels, alone: it tells which follows, or, as label 0, that the target ends.

    Its weights have the transducer's names. A transducer with all of them, whose frames give nothing, tells the same.

    Args:
        num_classes: labels (k).
        hidden_size: cells of its one layer, and units above them (n).
        first_weights: all are drawn from U(-w, w), w this number.

    Raises:
        ValueError: a setting is impossible.
    """

    def __init__(self, *, num_classes: int = 61, hidden_size: int = 250, first_weights: float = 0.1) -> None:
        super().__init__()
        expect.at_least("num_classes", num_classes, 1, "no label")
        expect.at_least("hidden_size", hidden_size, 1, "nothing")
        expect.at_least("first_weights", first_weights, 0, "half the width of an interval")
        self.num_classes, self.first_weights = num_classes, first_weights
        self.prediction = PeepholeLSTM(num_classes, hidden_size, bidirectional=False)
        self.of_labels = nn.Linear(hidden_size, hidden_size, bias=False)
        self.output = nn.Linear(hidden_size, num_classes + 1)
        for name, parameter in self.named_parameters():
            self.initialise(name, parameter, None)

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """As the transducer's."""
        nn.init.uniform_(parameter, -self.first_weights, self.first_weights, generator=generator)

    def forward(self, target: Tensor) -> Tensor:
        """Targets (b, u) to scores of end and labels, before any and after each (b, u + 1, k + 1)."""
        return self.output(torch.tanh(self.labels(target)))


class BLSTMTransducer(_Layers, _LabelReader):
    """The layers joined with a network that predicts labels from the labels before: Trans-3l-250h, 4.3 M weights.

    Args:
        num_classes: labels (k); the blank is one more.
        input_size: numbers of a frame (x).
        hidden_size: cells of each layer and direction (n), and units where the two networks meet.
        num_layers: layers that read frames; one reads labels.
        bidirectional: read frames from the end too.
        first_weights: all are drawn from U(-w, w), w this number.

    Raises:
        ValueError: a setting is impossible.
    """

    def __init__(
        self,
        *,
        num_classes: int = 61,
        input_size: int = 123,
        hidden_size: int = 250,
        num_layers: int = 3,
        bidirectional: bool = True,
        first_weights: float = 0.1,
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            input_size=input_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            cell="lstm",
            first_weights=first_weights,
        )
        n = hidden_size
        self.prediction = PeepholeLSTM(num_classes, n, bidirectional=False)
        self.reading = nn.Linear(self.size, n)  # l_t, equation 15
        self.of_frame = nn.Linear(n, n)  # W_lh and b_h, equation 16
        self.of_labels = nn.Linear(n, n, bias=False)
        self.output = nn.Linear(n, num_classes + 1)
        for name, parameter in self.named_parameters():
            self.initialise(name, parameter, None)

    def forward(self, frames: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """Frames (b, t, x), of which so many are real (b,), and targets (b, u) to scores (b, t, u + 1, k + 1)."""
        return self.join(self.frames(frames, lengths)[:, :, None], self.labels(target)[:, None])

    def frames(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Frames (b, t, x), of which so many are real (b,), to what they give where the networks meet (b, t, n)."""
        return self.of_frame(self.reading(self.read(frames, lengths)))

    def join(self, frames: Tensor, labels: Tensor) -> Tensor:
        """What frames and labels give where the networks meet (..., n) to scores (..., k + 1)."""
        return self.output(torch.tanh(frames + labels))
