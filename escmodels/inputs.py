"""What a net is trained on, batch by batch. Every sound is transformed once, as far as augmentation allows.

A spectrogram net needs of every clip, from one epoch to the next,
  its feature      if nothing upstream of the feature changes (roll, masks and mixup work on the feature itself),
  its band power   if loudness, noise, time or the place of the crop change,
  its spectrum     if the bank changes (pitch, speed, jittered edges),
  its samples      if the wave changes (`augment.exact`), or if there is no room for the others.
It is computed once, together with the statistics of the feature, and kept on the device.

Shape letters: B batch, T samples, N frames of a batch, S frames of all clips, R resolutions, F FFT bins, M bands,
X bands or nodes of a thinned spectrum, K classes. Counts of clips have no letter: `rows` index them.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .augment import Augment
from .band_augment import frames_at
from .chance import Chance
from .classifier import Classifier, waves
from .clips import ClipSet
from .resident import reader
from .spectrograms import Spectrogram

PART = 32 * 5 * 44_100  # samples that are transformed at once when something is computed to be kept
KEEP = 2 << 30  # bytes that one fit may keep
FEW = (
    0.05  # if no more clips than this share are longer than the crop, they too get one crop for the whole fit
)
LONG = 60.0  # seconds: of longer clips nothing but the samples is kept


@dataclass(frozen=True)
class Frames:
    """Frames of all clips, end to end."""

    firsts: Tensor  # int64, the first frame of each clip
    counts: Tensor  # int64, its number of frames
    values_SRX: Tensor  # thinned power spectra, or band power
    loud_S2: Tensor  # mean square of the samples, plain and A-weighted

    def span(self, row_B: Tensor, begin_B: Tensor, frames: int) -> tuple[Tensor, Tensor]:
        """So many frames of each row from `begin_B` on: [B, R, N, X] and [B, N, 2].

        A clip that ends before is read on from its start.
        """
        place_BN = begin_B[:, None] + torch.arange(frames, device=begin_B.device)
        place_BN = self.firsts[row_B][:, None] + place_BN % self.counts[row_B][:, None]
        place, shape = place_BN.flatten(), place_BN.shape
        values_BNRX = torch.unflatten(self.values_SRX.index_select(0, place), 0, shape)
        return values_BNRX.transpose(1, 2), torch.unflatten(self.loud_S2.index_select(0, place), 0, shape)


class Inputs:
    """Batches of augmented features and targets of training clips. Making it fits the feature's statistics."""

    def __init__(self, model: Classifier, train: ClipSet, chance: Chance) -> None:
        recipe = model.recipe
        self.train, self.rng, self.order, self.device = train, chance.augment, chance.order, model.device
        self.feature, self.length, self.pad = model.feature, recipe.data.crop_samples, recipe.data.pad
        self.augment = Augment(recipe.augment, model.feature.gives)
        self.reader = reader(train, model.device)
        self.crops = bool(train.longer(self.length).mean() > FEW)
        self.keeps = "wave"  # the stage that stays between epochs: "feature", "bands", "spectrum" or "wave"
        self.kept: Tensor | None = None  # the features of all clips
        self.frames: Frames | None = None  # their bands or spectra
        if isinstance(self.feature, Spectrogram):
            with torch.no_grad():
                self._prepare(self.feature)

    @torch.no_grad()
    def batch(self, rows: Tensor, target_BK: Tensor) -> tuple[Tensor, Tensor]:
        """Features and targets of these clips (`rows` on the CPU), with everything that the recipe does to them."""
        if self.kept is not None:
            x = self.kept[rows.to(self.device, non_blocking=True)]
        elif isinstance(self.feature, Spectrogram):
            x, target_BK = self._spectrogram(self.feature, rows, target_BK)
        else:
            wave_BT, target_BK = self._wave(rows, target_BK)
            x = self.feature(wave_BT)
        return self.augment.mix(self.augment.spec(x, self.rng), target_BK, self.rng)

    def _wave(self, rows: Tensor, target_BK: Tensor) -> tuple[Tensor, Tensor]:
        """float32 crops [B, T] and what augmentation makes of them."""
        int_BT = self.reader.take(rows.numpy(), self._begins(rows.numpy()), self.length, self.pad)
        return self.augment.wave(waves(int_BT, self.device), target_BK, self.rng, self.train.sample_rate)

    def _spectrogram(self, feature: Spectrogram, rows: Tensor, target_BK: Tensor) -> tuple[Tensor, Tensor]:
        """Finished features of a batch from what is kept of its clips."""
        frames = feature.frames(self.length)
        if self.frames is not None:
            begins = torch.from_numpy(self._begins(rows.numpy()) // feature.hop)
            begin_B, row_B = (i.to(self.device, non_blocking=True) for i in (begins, rows))
            x_BRNX, loud_BN2 = self.frames.span(row_B, begin_B, self.span)
        else:
            wave_BT, target_BK = self._wave(rows, target_BK)
            if not self.augment.on_bands:
                return feature(wave_BT), target_BK
            x_BRNX, loud_BN2 = self._transform(feature, feature.power(wave_BT))
        warp, factor_B = self.augment.warp(len(rows), self.rng, loud_BN2)
        band_BRNM = x_BRNX if warp is None else feature.warped(x_BRNX, warp)
        if factor_B is not None:
            position_BN = factor_B[:, None] * torch.arange(frames, device=self.device)
            band_BRNM, loud_BN2 = (frames_at(x, position_BN) for x in (band_BRNM, loud_BN2))
        band_BRNM, target_BK = self.augment.bands(band_BRNM, loud_BN2, target_BK, self.rng, feature)
        return feature.finish(band_BRNM), target_BK

    def _begins(self, rows: np.ndarray) -> np.ndarray:
        """First samples of the crops: at random where clips are longer than the crop, else from the middle."""
        if self.crops:
            return self.train.random_begins(rows, self.length, self.order)
        if self.frames is not None:
            return np.zeros(len(rows), np.int64)  # the crop alone was kept
        return self.train.centre_begins(rows, self.length)

    def _prepare(self, feature: Spectrogram) -> None:
        """Transform all sounds once: fit the statistics, and keep what there is room for."""
        lengths = np.full(len(self.train), self.length)
        if self.crops:
            lengths = np.maximum(lengths, self.train.lengths)
        counts = 1 + lengths // feature.hop
        self.keeps = stage = self._stage(feature, counts, int(lengths.max()))
        order: list[np.ndarray] = []
        parts: list[tuple[Tensor, Tensor]] = []

        def bands() -> Iterator[Tensor]:
            for rows, int_BT in self._sounds(lengths):
                wave_BT = waves(int_BT, self.device)
                if stage == "wave" or not (self.augment.warps or self.augment.listens):
                    value_BRNX = band_BRNM = feature.band_power(wave_BT)
                    loud_BN2 = band_BRNM.new_zeros((len(rows), band_BRNM.shape[2], 2))
                else:
                    power_BRNF = feature.power(wave_BT)
                    value_BRNX, loud_BN2 = self._transform(feature, power_BRNF)
                    band_BRNM = feature.pool(power_BRNF)
                if stage != "wave":
                    order.append(rows)
                    parts.append((value_BRNX.transpose(1, 2).flatten(0, 1), loud_BN2.flatten(0, 1)))
                yield band_BRNM

        sounds = bands()
        feature.fit(sounds)
        if stage == "wave":
            return
        for _ in sounds:  # a feature without statistics has looked at none of them
            pass
        values_SRX = torch.cat([values for values, _ in parts])
        if stage == "feature":  # one length, and so one order
            bands_BRNM = torch.unflatten(values_SRX, 0, (len(self.train), -1)).transpose(1, 2)
            self.kept = torch.cat([feature.finish(part) for part in torch.split(bands_BRNM, 32)])
            return
        row_order = np.concatenate(order)
        firsts = np.empty_like(counts)
        firsts[row_order] = np.cumsum(counts[row_order]) - counts[row_order]
        loud_S2 = torch.cat([loud for _, loud in parts])
        first, count = (torch.from_numpy(index).to(self.device) for index in (firsts, counts))
        self.frames = Frames(first, count, values_SRX, loud_S2)
        self.span = feature.frames(self.length)
        if self.crops and self.augment.reach > 1.0:  # a faster clip takes more of the recording
            self.span = min(math.ceil(self.span * self.augment.reach) + 1, int(counts.min()))

    def _stage(self, feature: Spectrogram, counts: np.ndarray, longest: int) -> str:
        """What to keep: what augmentation allows, if there is room for it."""
        stage = self.augment.needs
        if stage == "feature" and self.crops:
            stage = "bands"
        width = feature.bank.node_G.numel() if stage == "spectrum" else feature.config.bands
        room = 4 * int(counts.sum()) * len(feature.window_RW) * width <= KEEP
        return stage if room and longest <= LONG * self.train.sample_rate else "wave"

    def _sounds(self, lengths: np.ndarray) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Rows and int16 samples [B, T] of all clips, those of one length together; of long ones, pieces."""
        longest = round(LONG * self.train.sample_rate)
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            size = max(1, PART // int(min(length, longest)))
            for part in (rows[at : at + size] for at in range(0, len(rows), size)):
                firsts = (
                    np.zeros(len(part), np.int64) if self.crops else self.train.centre_begins(part, length)
                )
                for begin in range(0, int(length), longest):
                    piece = min(longest, int(length) - begin)
                    yield part, self.reader.take(part, firsts + begin, piece, self.pad)

    def _transform(self, feature: Spectrogram, power_BRNF: Tensor) -> tuple[Tensor, Tensor]:
        """What augmentation begins with, thinned spectra or band power, and the loudness of the frames."""
        x_BRNX = feature.thin(power_BRNF) if self.augment.warps else feature.pool(power_BRNF)
        return x_BRNX, feature.loudness(power_BRNF)
