"""Small trained-like models, a catalog's chips, and what their experts are used for."""

from dataclasses import replace

import pytest
import torch

from train.compress.usage import collect
from train.data import Chips, DataConfig, open_catalog
from train.kinds import kind_of
from train.models import CSMoE
from train.models.ringmoe import RingMoE
from train.models.ringmoe_presets import ring_preset


@pytest.fixture(scope="session")
def chips(toy):
    catalog = open_catalog(toy)
    return Chips(catalog, DataConfig.of(catalog), "train")


@pytest.fixture(scope="session")
def make_ring(chips):
    def make(name="tiny", seed=0, **changes):
        preset = replace(ring_preset(name), embed_dim=16, heads=(2, 2))
        config = kind_of("ringmoe").fit(preset.model(chips.config.bands, 32, 4), chips)
        torch.manual_seed(seed)
        model = RingMoE(replace(config, **changes))
        for name_, p in model.named_parameters():
            if ".routers." in name_:
                p.data *= 30  # routers as decided as trained ones
        return model.eval()

    return make


@pytest.fixture(scope="session")
def ring(make_ring):
    return make_ring()


@pytest.fixture(scope="session")
def soft(small_config):
    torch.manual_seed(0)
    return CSMoE(replace(small_config, experts=3)).eval()


@pytest.fixture(scope="session")
def ring_use(ring, chips):
    return collect(ring, chips)


@pytest.fixture(scope="session")
def soft_use(soft, chips):
    return collect(soft, chips)


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(5)
    return {s: torch.randn(3, c, 32, 32, generator=generator) for s, c in (("s2", 10), ("s1", 2))}
