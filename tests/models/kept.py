"""What every network keeps, whatever it reads: gradients for its weights, steps that help, states, first weights."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

Maker = Callable[[], nn.Module]


def assert_every_weight_has_a_gradient(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name


def assert_steps_lower(loss: Callable[[nn.Module], Tensor], model: nn.Module, lr: float) -> None:
    """Three steps of plain gradient descent, without dropout."""
    model.eval()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=lr)
    before = float(loss(model).detach())
    for _ in range(3):
        optimizer.zero_grad()
        loss(model).backward()
        optimizer.step()
    assert float(loss(model).detach()) < before


def assert_state_round_trips(
    maker: Maker, answer: Callable[[nn.Module], Tensor], file: Path, spread: float = 1.0
) -> None:
    """A second network that takes the first one's weights from a file answers the same."""
    model, other = maker().eval(), maker().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, spread)
    torch.save(model.state_dict(), file)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(answer(model), answer(other))


def assert_first_weights_depend_on_seed_and_name_only(maker: Maker) -> None:
    def drawn(model: nn.Module, names: list[str]) -> dict[str, Tensor]:
        parameters = dict(model.named_parameters())
        for name in names:
            model.initialise(name, parameters[name], torch.Generator().manual_seed(sum(name.encode())))
        return {name: parameter.detach().clone() for name, parameter in parameters.items()}

    names = [name for name, _ in maker().named_parameters()]
    torch.manual_seed(7)
    forwards, backwards = drawn(maker(), names), drawn(maker(), names[::-1])
    assert all(torch.equal(forwards[name], backwards[name]) for name in names)


def assert_construction_initialises_every_parameter(maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(type(maker()), "initialise", lambda self, name, parameter, generator: seen.append(name))
    model = maker()
    assert seen == [name for name, _ in model.named_parameters()]
