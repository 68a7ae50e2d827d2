import torch
from synthetic import CLASSES, TINY, model_params, random_batch

from benchmarks.untrained import fit_batch_norms
from stages.model.build import build_model


def test_batch_norms_of_random_weights_take_the_statistics_of_the_pictures():
    params = model_params(TINY)
    model = build_model(params, len(CLASSES), pretrained=False)
    batch = torch.from_numpy(random_batch(4, params.image_size))
    fit_batch_norms(model, batch)
    inputs = {}
    norms = [each for each in model.modules() if isinstance(each, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.register_forward_hook(lambda module, given, _: inputs.update({module: given[0]}))
    with torch.no_grad():
        model.train()(batch)
    assert norms
    for norm in norms:
        torch.testing.assert_close(norm.running_mean, inputs[norm].mean((0, 2, 3)))
        torch.testing.assert_close(norm.running_var, inputs[norm].var((0, 2, 3)))
