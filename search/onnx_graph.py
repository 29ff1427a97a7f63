"""A model as a graph that ONNX can hold: the same numbers from operations that the exporter knows.

Used for tracing alone, never in training or judging. What differs from the model's own code: the transform works on
the whole batch at once and changes nothing in place, PCEN smooths without blocks, recurrent layers are single nodes.

Shape letters: B batch, T samples, R resolutions, N frames, F FFT bins, H hidden, D directions, K classes.
"""

import copy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional

TINY = float(torch.finfo(torch.float32).tiny)


class Graph(nn.Module):
    """Waves [B, T], float32 in [-1, 1] at the model's rate -> probabilities [B, K], temperature included.

    Args:
        model: a `Classifier` or `Ensemble` of this or an older version's code.
        traced: False takes the model's own modules instead of what can be traced, to compare with.
    """

    def __init__(self, model: Any, traced: bool = True) -> None:
        super().__init__()
        members = getattr(model, "members", (model,))
        self.members = nn.ModuleList(_Member(member.feature, member.net, traced) for member in members)
        self.temperature = float(getattr(model, "temperature", 1.0))  # format 2 has none

    def forward(self, waves: Tensor) -> Tensor:
        wave_BT = (waves * 32768).round().clamp(-32768, 32767) / 32768  # as int16, like every sound
        prob_BK = torch.stack([member(wave_BT) for member in self.members]).mean(dim=0)
        if self.temperature == 1:
            return prob_BK
        return (prob_BK.clamp(min=TINY).log() / self.temperature).softmax(dim=1)


class _Member(nn.Module):
    """One classifier: waves [B, T] -> softmax [B, K]."""

    def __init__(self, feature: Any, net: nn.Module, traced: bool) -> None:
        super().__init__()
        self.feature, self.net = copy.deepcopy(feature), copy.deepcopy(net).eval()
        if not traced:
            return
        if feature.gives == "spectrogram":
            self.feature = _Transform(self.feature)
        for module in list(self.net.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, nn.LSTM | nn.GRU):
                    setattr(module, name, Recurrent(child))

    def forward(self, wave_BT: Tensor) -> Tensor:
        logits_BK: Tensor = self.net(self.feature(wave_BT))
        return logits_BK.softmax(dim=1)


class _Transform(nn.Module):
    """What a `Spectrogram` computes, from its own bank and its own last stage."""

    def __init__(self, feature: Any) -> None:
        super().__init__()
        self.feature = feature

    def forward(self, wave_BT: Tensor) -> Tensor:
        bank, size = self.feature.bank, self.feature.config.n_fft
        frame_B1NW = functional.pad(wave_BT, (size // 2, size // 2)).unfold(1, size, self.feature.hop)[
            :, None
        ]
        spectrum_BRNF2 = torch.view_as_real(torch.fft.rfft(frame_B1NW * self.feature.window_RW[:, None]))
        seen_BRNF2 = spectrum_BRNF2[..., bank.first : bank.last, :]
        power_BRNF = (seen_BRNF2 * seen_BRNF2).sum(dim=-1)
        with _one_block(type(self.feature)):
            picture: Tensor = self.feature.finish(bank(power_BRNF, bank.first))
        return picture


class Recurrent(nn.Module):
    """An LSTM or GRU of torch (batch first, from rest) as nodes of ONNX, which take any number of frames.

    Torch's gates come in another order than ONNX's: i f g o (LSTM) and r z n (GRU) against i o f c and z r h.
    """

    def __init__(self, layer: nn.LSTM | nn.GRU) -> None:
        super().__init__()
        assert layer.batch_first and layer.bias and not getattr(layer, "proj_size", 0)
        self.hidden_size, self.directions = layer.hidden_size, 2 if layer.bidirectional else 1
        self.kind, order = ("LSTM", (0, 3, 1, 2)) if isinstance(layer, nn.LSTM) else ("GRU", (1, 0, 2))
        self.layers = layer.num_layers

        def ordered(name: str) -> Tensor:
            parts = getattr(layer, name).detach().chunk(len(order))
            return torch.cat([parts[place] for place in order])

        for number in range(self.layers):
            ends = [f"l{number}", f"l{number}_reverse"][: self.directions]
            both = [torch.cat((ordered(f"bias_ih_{end}"), ordered(f"bias_hh_{end}"))) for end in ends]
            self.register_buffer(
                f"input_{number}", torch.stack([ordered(f"weight_ih_{end}") for end in ends])
            )
            self.register_buffer(
                f"state_{number}", torch.stack([ordered(f"weight_hh_{end}") for end in ends])
            )
            self.register_buffer(f"bias_{number}", torch.stack(both))

    def forward(self, x_BNH: Tensor) -> tuple[Tensor, None]:
        attributes: dict[str, Any] = {
            "hidden_size": self.hidden_size,
            "direction": "bidirectional" if self.directions == 2 else "forward",
        }
        if self.kind == "GRU":
            attributes["linear_before_reset"] = 1  # as torch and cuDNN have it
        x_NBH = x_BNH.transpose(0, 1)
        for number in range(self.layers):
            weights = [getattr(self, f"{part}_{number}") for part in ("input", "state", "bias")]
            frames, batch = x_NBH.shape[:2]
            y_NDBH = torch.onnx.ops.symbolic(
                self.kind,
                [x_NBH, *weights],
                attributes,
                dtype=x_BNH.dtype,
                shape=(frames, self.directions, batch, self.hidden_size),
                version=14,
            )
            x_NBH = y_NDBH.transpose(1, 2).flatten(2)
        return x_NBH.transpose(0, 1), None


@contextmanager
def _one_block(feature: type) -> Iterator[None]:
    """PCEN's smoother in one block instead of as many as there are, which is the same up to rounding.

    A graph for any number of frames cannot have a number of blocks that depends on it.
    """
    compress = sys.modules[feature.__module__.rpartition(".")[0] + ".compress"]
    with patch.object(compress, "smooth", _smooth):
        yield


def _smooth(band_BRNM: Tensor, s: float) -> Tensor:
    """M[t] = (1 - s) M[t-1] + s E[t] along the frames, with M[-1] = E[0]."""
    at_N = torch.arange(band_BRNM.shape[-2], dtype=torch.float64)
    age_NN = at_N[:, None] - at_N
    memory_NN = torch.where(age_NN >= 0, s * (1 - s) ** age_NN.clamp(min=0), 0.0).to(band_BRNM.dtype)
    fading_N1 = ((1 - s) ** (at_N + 1)).to(band_BRNM.dtype)[:, None]
    return memory_NN @ band_BRNM + fading_N1 * band_BRNM[..., :1, :]
