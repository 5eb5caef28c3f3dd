"""Files that lie beside exported weights, with places to fill in: entries for transformers and torchgeo."""

TRANSFORMERS = '''"""The exported encoder: transformers.AutoModel.from_pretrained(folder, trust_remote_code=True)."""

from transformers import PretrainedConfig, PreTrainedModel

from .modeling_{kind} import Encoder, encoder_of

PARTS = {parts}


class {name}Config(PretrainedConfig):
    model_type = "{kind}"


class {name}Model(PreTrainedModel):
    config_class = {name}Config
    base_model_prefix = "encoder"
    main_input_name = "images"

    def __init__(self, config):
        super().__init__(config)
        self.encoder = encoder_of({{name: getattr(config, name) for name in PARTS}})
        self.post_init()

    def forward(self, images):
        """Features [B, D] by sensor of physical values [B, bands, H, W] by sensor."""
        return self.encoder(images)

    def _init_weights(self, module):
        """Nothing to do: weights are loaded; what is left of a module's own are its fixed statistics."""
        if isinstance(module, Encoder):
            module.set_statistics()
'''
TORCHGEO = '''"""Weights as torchgeo's models have them: an enumeration of torchvision's WeightsEnum."""

from pathlib import Path

from torchvision.models._api import Weights, WeightsEnum

FOLDER = Path(__file__).parent


class {name}_Weights(WeightsEnum):
    """One entry for each sensor: `in_chans` bands in the order of `bands`, physical values in `units`."""

{entries}

def {function}(weights=None, features_only=False):
    """The encoder of one sensor: maps [B, bands, H, W] to features [B, D], or to a pyramid of maps."""
    from modeling_{function} import load

    weights = weights or next(iter({name}_Weights))
    sensor, folder = weights.meta["sensor"], Path(weights.url.removeprefix("file://"))
    model = load(folder, features_only=features_only, sensor=sensor)
    if features_only:
        return model

    import torch

    class OneSensor(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = model

        def forward(self, x):
            return self.encoder({{sensor: x}})[sensor]

    return OneSensor().eval()
'''
