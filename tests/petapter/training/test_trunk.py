import pytest
import torch

from petapter.task import Encoder
from petapter.task.encoding import pad_batch
from petapter.training.trunk import Trunk, upper_layers
from tests.petapter.conftest import SENTIMENT, BackboneOf
from tests.petapter.tiny_backbones import ARCHITECTURES

TEXTS = [{"text": "good game"}, {"text": "a"}, {"text": "the news of the day was bad"}]


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_upper_layers_on_cached_states_say_what_the_whole_backbone_says(backbone_of: BackboneOf, family: str) -> None:
    backbone = backbone_of(family)
    encoded = Encoder(backbone.tokenizer, SENTIMENT.patterns[0], 64).encode(TEXTS)
    pools = (upper_layers(backbone)[0] or 1, backbone.layers)
    with torch.no_grad():
        expected = backbone.read(pad_batch(encoded, backbone.pad_id), pools)
        trunk = Trunk(backbone)
        found = trunk.read(trunk.cache(encoded), pools)
    torch.testing.assert_close(found.at_masks, expected.at_masks, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.pools, expected.pools, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_backbone_is_whole_after_the_trunk_ran(backbone_of: BackboneOf, family: str) -> None:
    backbone = backbone_of(family)
    before = dict(backbone.model.named_modules())
    trunk = Trunk(backbone)
    trunk.read(trunk.cache(Encoder(backbone.tokenizer, SENTIMENT.patterns[0], 64).encode(TEXTS)), (backbone.layers,))
    assert dict(backbone.model.named_modules()) == before
