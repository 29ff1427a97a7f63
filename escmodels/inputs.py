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

import numpy as np
import torch
from torch import Tensor

from .augment import Augment
from .band_augment import frames_at
from .chance import Chance
from .classifier import Classifier, waves
from .clips import ClipSet
from .frames import Frames
from .resident import reader
from .spectrograms import Spectrogram

PART = 32 * 5 * 44_100  # samples that are transformed at once when something is computed to be kept
KEEP = 1 << 30  # bytes that one fit may keep
FEW = (
    0.05  # if no more clips than this share are longer than the crop, they too get one crop for the whole fit
)
LONG = 60.0  # seconds: of longer clips nothing but the samples is kept


class Inputs:
    """Batches of augmented features and targets of training clips. Making it fits the feature's statistics."""

    def __init__(self, model: Classifier, train: ClipSet, chance: Chance) -> None:
        recipe = model.recipe
        self.train, self.rng, self.order, self.device = train, chance.augment, chance.order, model.device
        self.feature, self.length, self.pad = model.feature, recipe.data.crop_samples, recipe.data.pad
        self.augment = Augment(recipe.augment, model.feature.gives)
        self.reader = reader(train, model.device)
        self.crops = bool(train.longer(self.length).mean() > FEW)
        self.reads = self.length  # samples of a crop
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
        int_BT = self.reader.take(rows.numpy(), self._begins(rows.numpy()), self.reads, self.pad)
        return self.augment.wave(waves(int_BT, self.device), target_BK, self.rng, self.train.sample_rate)

    def _spectrogram(self, feature: Spectrogram, rows: Tensor, target_BK: Tensor) -> tuple[Tensor, Tensor]:
        """Finished features of a batch from what is kept of its clips."""
        if self.frames is not None:
            begins = torch.from_numpy(self._begins(rows.numpy()) // feature.hop)
            begin_B, row_B = (i.to(self.device, non_blocking=True) for i in (begins, rows))
            x_BRNX, loud_BN2 = self.frames.span(row_B, begin_B, feature.frames(self.reads))
        else:
            wave_BT, target_BK = self._wave(rows, target_BK)
            if not self.augment.on_bands:
                return feature(wave_BT), target_BK
            x_BRNX, loud_BN2 = self._transform(feature, feature.power(wave_BT))
        warp, factor_B = self.augment.warp(len(rows), self.rng, loud_BN2)
        band_BRNM = x_BRNX if warp is None else feature.warped(x_BRNX, warp)
        if factor_B is not None:
            position_BN = factor_B[:, None] * torch.arange(feature.frames(self.length), device=self.device)
            band_BRNM, loud_BN2 = (frames_at(x, position_BN) for x in (band_BRNM, loud_BN2))
        band_BRNM, target_BK = self.augment.bands(band_BRNM, loud_BN2, target_BK, self.rng, feature)
        return feature.finish(band_BRNM), target_BK

    def _begins(self, rows: np.ndarray) -> np.ndarray:
        """First samples of the crops: at random where clips are longer than the crop, else from the middle."""
        if self.crops:
            begins = self.train.random_begins(rows, self.length, self.order)
            last = np.maximum(
                self.train.lengths[rows] - self.reads, 0
            )  # what is read for a faster clip is in it
            return np.minimum(begins, last) if self.reads > self.length else begins
        if self.frames is not None:
            return np.zeros(len(rows), np.int64)  # the crop alone was kept
        return self.train.centre_begins(rows, self.length)

    def _prepare(self, feature: Spectrogram) -> None:
        """Fit the statistics, and keep what there is room for."""
        lengths = np.full(len(self.train), self.length)
        if self.crops:
            lengths = np.maximum(lengths, self.train.lengths)
            if self.augment.reach > 1.0:  # a faster clip takes more of the recording
                self.reads = math.ceil(feature.frames(self.length) * self.augment.reach) * feature.hop
        counts = 1 + lengths // feature.hop
        self.keeps = self._stage(feature, counts, int(lengths.max()))
        if self.keeps == "wave":
            feature.fit(self._windows(feature))
            return
        width = feature.bank.node_G.numel() if self.keeps == "spectrum" else feature.config.bands
        frames = Frames(counts, len(feature.window_RW), width, self.device)
        if self.crops:  # what is kept holds the silence too, which neither crops nor evaluation hear
            feature.fit(self._windows(feature))
            for _ in self._fill(feature, frames, lengths):
                pass
        else:
            parts = self._fill(feature, frames, lengths)
            feature.fit(parts)
            for _ in parts:  # a feature without statistics has looked at none of them
                pass
        if self.keeps == "feature":
            self.kept = torch.empty(len(self.train), *feature.shape(self.length), device=self.device)
            for rows in torch.split(torch.arange(len(self.train), device=self.device), 32):
                bands_BRNM, _ = frames.span(rows, torch.zeros_like(rows), feature.frames(self.length))
                self.kept[rows] = feature.finish(bands_BRNM)
        else:
            self.frames = frames

    def _stage(self, feature: Spectrogram, counts: np.ndarray, longest: int) -> str:
        """What to keep: what augmentation allows, if there is room for it (and for what it is made of)."""
        stage = self.augment.needs
        if stage == "feature" and self.crops:
            stage = "bands"
        width = feature.bank.node_G.numel() if stage == "spectrum" else feature.config.bands
        numbers = int(counts.sum()) * len(feature.window_RW) * width
        if stage == "feature":
            numbers += len(counts) * math.prod(feature.shape(self.length))
        fits = 4 * numbers <= KEEP and longest <= LONG * self.train.sample_rate
        return stage if fits else "wave"

    def _windows(self, feature: Spectrogram) -> Iterator[Tensor]:
        """Band power of all training sound once, without silent windows."""
        rows, begins = self.train.windows(self.length, hop=self.length)
        for part in np.array_split(np.arange(len(rows)), -(-len(rows) * self.length // PART)):
            int_BT = self.reader.take(rows[part], begins[part], self.length, self.pad)
            yield feature.band_power(waves(int_BT, self.device))

    def _fill(self, feature: Spectrogram, frames: Frames, lengths: np.ndarray) -> Iterator[Tensor]:
        """Transform all clips, those of one length together, and write them into `frames`; yields their band power."""
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            for part in np.array_split(rows, -(-len(rows) * int(length) // PART)):
                begins = (
                    np.zeros(len(part), np.int64) if self.crops else self.train.centre_begins(part, length)
                )
                wave_BT = waves(self.reader.take(part, begins, int(length), self.pad), self.device)
                if self.augment.warps or self.augment.listens:
                    power_BRNF = feature.power(wave_BT)
                    frames.write(part, *self._transform(feature, power_BRNF))
                    yield feature.pool(power_BRNF)
                else:
                    band_BRNM = feature.band_power(wave_BT)
                    frames.write(part, band_BRNM)
                    yield band_BRNM

    def _transform(self, feature: Spectrogram, power_BRNF: Tensor) -> tuple[Tensor, Tensor]:
        """What augmentation begins with, thinned spectra or band power, and the loudness of the frames."""
        x_BRNX = feature.thin(power_BRNF) if self.augment.warps else feature.pool(power_BRNF)
        return x_BRNX, feature.loudness(power_BRNF)
