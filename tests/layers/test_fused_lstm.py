import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dltk.layers import fused_lstm
from dltk.layers.fused_lstm import FusedLSTM


@pytest.mark.parametrize("has", [True, False])
def test_it_is_torchs(monkeypatch: pytest.MonkeyPatch, has: bool) -> None:
    monkeypatch.setattr(fused_lstm, "computes_in_16_bits", lambda: has)
    own, other = FusedLSTM(3, 5, 2, batch_first=True), nn.LSTM(3, 5, 2, batch_first=True)
    other.load_state_dict(own.state_dict())
    inputs, state = torch.randn(4, 6, 3), (torch.randn(2, 4, 5), torch.randn(2, 4, 5))
    for given in ((inputs,), (inputs, state)):
        (found, found_state), (right, right_state) = own(*given), other(*given)
        assert torch.equal(found, right)
        assert all(map(torch.equal, found_state, right_state))


def test_under_autocast_it_computes_in_32_bits_where_the_cpu_has_no_16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_lstm, "computes_in_16_bits", lambda: False)
    lstm = FusedLSTM(3, 5, batch_first=True)
    inputs = torch.randn(4, 6, 3).to(torch.bfloat16)
    packed = pack_padded_sequence(inputs, torch.full((4,), 6), batch_first=True)
    with torch.autocast("cpu", torch.bfloat16):
        found, found_of_packed = lstm(inputs)[0], lstm(packed)[0]
    assert torch.equal(found, lstm(inputs.float())[0])
    assert torch.equal(pad_packed_sequence(found_of_packed, batch_first=True)[0], found)
    found.sum().backward()
    assert lstm.weight_hh_l0.grad is not None
