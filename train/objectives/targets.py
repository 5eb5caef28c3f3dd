"""What is rebuilt where a sensor was hidden: targets that respect how the sensor measures.

    pixels        the normalised bands x                        | x̂ - x |
    decorrelated  C^-½ x, C = their covariance over the data    | x̂ - x |     colour weighs as brightness: ours
    indices       the bands, and normalised differences of them | x̂ - x |     NDVI, NDWI, NDBI, NBR, NDRE: ours
    log-power     10 log10 P, P = total backscattered power     | x̂ - x |     standardised over the data set: ours
    polarimetric  10 log10 P, and 10 log10 of cross- over co-polarised power      | x̂ - x |     likewise: ours
    gamma         intensity of each polarisation                L (I/μ - log(I/μ) - 1)    L looks of speckle: ours
    power         P, clipped at 1, stretched over each image    ( x̂ - x )²    as released (RingMoE, arXiv 2504.03166)

    P = Σ_pq (I_pq² + Q_pq²) of complex bands; Σ_pq 10^(dB_pq / 10) of detected ones.

P is the squared Frobenius norm of the scattering matrix: it does not change with the phase or the polarisation basis,
and a sum over channels has less speckle than each of them. The ratio X / C of cross-polarised power (HV, VH) to
co-polarised (HH, VV) tells how much the ground depolarises: volumes such as canopies do, water and bare soil hardly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

KINDS = ("optical", "multispectral", "sar", "sar_complex", "other")
OF_ALL = ("pixels", "decorrelated")
OF_SAR = ("log-power", "polarimetric", "gamma", "power")
TARGETS = (*OF_ALL, "indices", *OF_SAR)
NOISE = 1e-4  # of the largest variance, 1 % of its deviation: what is below is not stretched further
FLOOR = 1e-5  # of power, -50 dB: below what the sensors can tell from their own noise
LN10_PER_DB = math.log(10) / 10
CO, CROSS = ("HH", "VV"), ("HV", "VH")
INDICES = {  # (a - b) / (a + b) by Sentinel-2 band
    "NDVI": ("B08", "B04"),
    "NDWI": ("B03", "B08"),
    "NDBI": ("B11", "B08"),
    "NBR": ("B08", "B12"),
    "NDRE": ("B8A", "B05"),
}


@dataclass(frozen=True)
class SensorSpec:
    """One sensor as the model meets it.

    Raises:
        ValueError: an unknown kind, a target that its bands cannot give, or statistics that do not fit the bands.
    """

    bands: tuple[str, ...]
    kind: str
    mean: tuple[
        float, ...
    ]  # with which images are normalised, by band, in the physical unit (dB, reflectance, …)
    std: tuple[float, ...]
    target: str = "pixels"
    looks: float = 4.4  # independent looks: of Sentinel-1 IW GRDH at full resolution
    level_db: float = 0.0  # mean of 10 log10 P over the data set
    spread_db: float = 1.0  # and its standard deviation
    ratio_db: float = 0.0  # mean of 10 log10 X / C over the data set
    ratio_spread_db: float = 1.0  # and its standard deviation
    turn: tuple[tuple[float, ...], ...] | None = (
        None  # C^-½ of the normalised bands, [c, c]; None: no correlation
    )

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"There is no kind of sensor {self.kind!r}: choose one of {', '.join(KINDS)}")
        if not len(self.bands) == len(self.mean) == len(self.std):
            raise ValueError(f"{len(self.bands)} bands need as many means and deviations")
        if self.turn is not None and {len(self.turn), *map(len, self.turn)} != {len(self.bands)}:
            raise ValueError(f"{len(self.bands)} bands are not turned by a matrix of another size")
        if self.target not in TARGETS:
            raise ValueError(f"There is no target {self.target!r}: choose one of {', '.join(TARGETS)}")
        if self.target in OF_SAR and not self.kind.startswith("sar"):
            raise ValueError(f"Target {self.target!r} is for radar, not for {', '.join(self.bands)}")
        if self.target == "polarimetric" and not depolarisation(self.bands):
            raise ValueError(
                f"Target 'polarimetric' needs co- and cross-polarised bands: {', '.join(self.bands)}"
            )
        if self.target == "gamma" and self.kind == "sar_complex":
            raise ValueError("Target 'gamma' is for detected intensity, not for complex bands")
        if self.target == "indices" and not self.indices:
            raise ValueError(f"None of {', '.join(INDICES)} can be made of {', '.join(self.bands)}")

    @property
    def indices(self) -> dict[str, tuple[int, int]]:
        """Spectral indices that the bands allow, as pairs of channels."""
        place = {band: i for i, band in enumerate(self.bands)}
        return {n: (place[a], place[b]) for n, (a, b) in INDICES.items() if a in place and b in place}

    @property
    def channels(self) -> int:
        """Of the target."""
        if self.target in ("log-power", "power"):
            return 1
        if self.target == "polarimetric":
            return 2
        return len(self.bands) + (len(self.indices) if self.target == "indices" else 0)

    def physical(self, images: Tensor) -> Tensor:
        """Normalised images [B, c, H, W] in the sensor's own unit, float32 or better."""
        x = images.to(torch.promote_types(images.dtype, torch.float32))
        shape = (-1, 1, 1)
        std, mean = (_beside(x, values).view(shape) for values in (self.std, self.mean))
        return x * std + mean

    def power(self, images: Tensor) -> Tensor:
        """Total backscattered power of normalised radar images [B, c, H, W]: [B, 1, H, W], linear, ≥ 0."""
        return self._linear(images).sum(1, keepdim=True)

    def ratio(self, images: Tensor) -> Tensor:
        """10 log10 of cross- over co-polarised power of normalised radar images [B, c, H, W]: [B, 1, H, W], dB."""
        linear, names = self._linear(images), [polarisation(band) for band in self.bands]
        cross, co = (linear[:, [n in part for n in names]].sum(1, keepdim=True) for part in (CROSS, CO))
        return decibels(cross) - decibels(co)

    def _linear(self, images: Tensor) -> Tensor:
        """Power of each band of normalised radar images, which of complex ones is that of I or Q alone."""
        values = self.physical(images)
        return values.square() if self.kind == "sar_complex" else (values * LN10_PER_DB).exp()

    def truth(self, images: Tensor) -> Tensor:
        """The target of normalised images [B, c, H, W]: [B, channels, H, W]."""
        if self.target in ("log-power", "polarimetric"):
            level = (decibels(self.power(images)) - self.level_db) / self.spread_db
            if self.target == "log-power":
                return level
            return torch.cat([level, (self.ratio(images) - self.ratio_db) / self.ratio_spread_db], 1)
        if self.target == "power":
            power = self.power(images).clamp(max=1.0)
            low, high = power.amin((1, 2, 3), keepdim=True), power.amax((1, 2, 3), keepdim=True)
            return (power - low) / (high - low).clamp(min=1e-12)
        if self.target == "decorrelated" and self.turn is not None:
            with torch.autocast(images.device.type, enabled=False):
                return torch.einsum("oc,bchw->bohw", _beside(images, self.turn), images)
        if self.target == "indices":
            values = self.physical(images)
            ratios = [normalised_difference(values[:, a], values[:, b]) for a, b in self.indices.values()]
            return torch.cat([images, torch.stack(ratios, 1).to(images.dtype)], 1)
        return images

    def error(self, prediction: Tensor, truth: Tensor) -> Tensor:
        """How far each predicted value [B, channels, H, W] is from the truth, ≥ 0, in float32 or better.

        A prediction of `gamma` is the normalised dB of the mean intensity.
        """
        precise = torch.promote_types(prediction.dtype, torch.float32)
        prediction, truth = prediction.to(precise), truth.to(precise)
        if self.target == "power":
            return (prediction - truth).square()
        if self.target == "gamma":
            ratio = (truth - prediction) * _beside(truth, self.std).view(-1, 1, 1) * LN10_PER_DB  # log(I/μ)
            return self.looks * (ratio.exp() - ratio - 1)
        return (prediction - truth).abs()

    def released(self) -> SensorSpec:
        """The published target: power of complex radar, else pixels."""
        return replace(self, target="power" if self.kind == "sar_complex" else "pixels", turn=None)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> SensorSpec:
        lists = {name: tuple(fields[name]) for name in ("bands", "mean", "std")}
        turn = fields.get("turn")
        return cls(**{**fields, **lists, "turn": None if turn is None else tuple(map(tuple, turn))})


def _beside(images: Tensor, values: Any) -> Tensor:
    """*values* where the images are and in their precision; nobody waits for the device."""
    return torch.tensor(values, dtype=images.dtype).to(images.device, non_blocking=True)


def decorrelation(values: Tensor) -> Tensor:
    """C^-½ [c, c] of samples [n, c]: what is turned so has unit variance, no correlation, and its bands' meaning.

    Samples of normalised bands. ZCA whitening, the turn that changes them least (Kessy, Lewin and Strimmer, arXiv
    1512.00809). Variances below `NOISE` of the largest count as that much, so that noise is not made to matter:
    Sentinel-2's bands resolve about 1 % of what they measure. Where nothing varies, or nothing is known, nothing is
    turned.
    """
    known = values[values.isfinite().all(1)]
    bands = values.shape[1]
    if len(known) < 2:
        return torch.eye(bands, dtype=values.dtype)
    variance, directions = torch.linalg.eigh(torch.cov(known.T.double()).reshape(bands, bands))
    if variance.max() < NOISE:  # normalised bands that vary have a variance of about 1
        return torch.eye(bands, dtype=values.dtype)
    spread = variance.clamp(min=NOISE * float(variance.max())).sqrt()
    turn: Tensor = (directions / spread) @ directions.T
    return turn.to(values.dtype)


def gamma_nll(intensity: Tensor, mean: Tensor, looks: float) -> Tensor:
    """L (log μ + I / μ): negative log likelihood of L-look intensity, but for terms that do not depend on μ.

    Fully developed speckle; Goodman, "Speckle Phenomena in Optics", section 3.3. `SensorSpec.error` is this less its
    least value, so that 0 is a perfect prediction.
    """
    return looks * (mean.log() + intensity / mean)


def decibels(power: Tensor) -> Tensor:
    """10 log10 of power, which is held above `FLOOR`."""
    return 10 * power.clamp(min=FLOOR).log10()


def normalised_difference(a: Tensor, b: Tensor) -> Tensor:
    """(a - b) / (a + b), between -1 and 1; 0 where nothing is reflected."""
    total = a + b
    return torch.where(total > 1e-4, (a - b) / total.clamp(min=1e-4), torch.zeros_like(total)).clamp(-1, 1)


def kind_of(bands: tuple[str, ...], unit: str) -> str:
    """The kind of a sensor, by its bands and their unit.

    Complex bands come in pairs whose names end in _I and _Q (HH_I, HH_Q, …).
    """
    if any(band.upper().endswith(("_I", "_Q")) for band in bands):
        return "sar_complex"
    if unit == "dB":
        return "sar"
    if unit == "reflectance":
        return "multispectral" if len(bands) > 3 else "optical"
    return "other"


def polarisation(band: str) -> str:
    """Of a radar band: VV of vv, of VV_I and of IW1-VV."""
    return band.upper().partition("_")[0].rpartition("-")[2]


def depolarisation(bands: tuple[str, ...]) -> bool:
    """Whether both co- and cross-polarised bands are there."""
    names = {polarisation(band) for band in bands}
    return not (names.isdisjoint(CO) or names.isdisjoint(CROSS))


def default_target(kind: str, bands: tuple[str, ...]) -> str:
    """Radar: total power, and the polarimetric ratio where there is one. Many bands: decorrelated. Else pixels."""
    if kind.startswith("sar"):
        return "polarimetric" if depolarisation(bands) else "log-power"
    return "decorrelated" if kind == "multispectral" else "pixels"
