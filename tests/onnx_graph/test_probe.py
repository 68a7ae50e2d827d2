import numpy as np
import onnx
from synthetic import TINY, random_batch

from stages.inference.predictor import load_onnx
from stages.onnx_graph.names import INPUT
from stages.onnx_graph.probe import open_probed


def test_inner_tensors_lead_to_the_models_own_output(exported, tmp_path):
    _, _, proto = exported(TINY, 32, 18)
    before = proto.SerializeToString()
    last = proto.graph.node[-1]
    inner = [last.input[0], proto.graph.output[0].name]
    batch = random_batch(2, 32)
    features, logits = open_probed(proto, inner).run(inner, {INPUT: batch})
    assert features.ndim == 2
    assert proto.SerializeToString() == before
    onnx.save(proto, tmp_path / "model.onnx")
    np.testing.assert_allclose(load_onnx(tmp_path / "model.onnx")(batch), logits, atol=1e-5)
    assert [value.name for value in open_probed(proto, inner[:1]).get_outputs()] == inner[:1]
