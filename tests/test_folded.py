"""Law of folding: the same outputs with fewer layers, and the net stays as it was."""

import pytest
import torch
from torch import nn
from toys import CRNN, MEL, RAW, recipe

from escmodels.classifier import Classifier
from escmodels.folded import folded


@pytest.mark.parametrize("base", [MEL, RAW, CRNN], ids=["mel", "raw", "crnn"])
def test_a_folded_net_gives_the_same_outputs_with_fewer_norms(base):
    torch.manual_seed(0)
    model = Classifier.fresh(recipe(base), ("a", "b"))
    for module in model.net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):  # statistics and weights of a trained net
            for tensor in (module.running_mean, module.bias):
                nn.init.normal_(tensor)
            for tensor in (module.running_var, module.weight):
                nn.init.uniform_(tensor, 0.5, 2.0)
    before = {name: tensor.clone() for name, tensor in model.net.state_dict().items()}
    x = model.feature(torch.randn(4, 4000))
    net = folded(model.net.train())
    assert model.net.training and not net.training
    torch.testing.assert_close(net(x), model.net.eval()(x), rtol=1e-4, atol=1e-4)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.net.state_dict().items())

    def norms(of: nn.Module) -> int:
        return sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in of.modules())

    assert norms(net) == 0 < norms(model.net)


def test_what_does_not_follow_a_convolution_is_left_alone():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(4)).eval()
    assert [type(layer) for layer in folded(net)] == [nn.Linear, nn.BatchNorm1d, nn.BatchNorm1d]
