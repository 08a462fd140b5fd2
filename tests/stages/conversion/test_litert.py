from __future__ import annotations

from dataclasses import replace

import pytest
from ai_edge_litert.interpreter import Interpreter

from stages.conversion.litert import write_float
from stages.keras_graph.fold import fold
from tests.stages.conversion.onnx.builders import SIGNATURE
from tests.stages.networks import NETWORKS


@pytest.mark.parametrize(("name", "output"), [("plain", "logits"), ("separable", "probabilities")])
def test_the_file_names_its_input_and_what_it_returns(tmp_path, name, output):
    signature = replace(SIGNATURE, output=output, output_name=output)
    write_float(tmp_path / "model.tflite", fold(NETWORKS[name]()), signature)
    ((_, names),) = Interpreter(str(tmp_path / "model.tflite")).get_signature_list().items()
    assert names == {"inputs": ["image"], "outputs": [output]}
