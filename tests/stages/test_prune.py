from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from stages import prune
from stages.artifacts.signature import Signature
from stages.datasets.base import DataSet
from stages.errors import DataError, ModelError
from stages.keras_graph.cost import multiply_adds
from stages.keras_graph.fold import flatten
from stages.models import files
from stages.numerics.sparsity import is_two_of_four
from stages.pruning import structured
from stages.pruning.criteria import layer_scores
from stages.settings import Data, Prune, PruneStage
from stages.training import evaluate
from tests.stages.conftest import DIGITS as SIGNATURE
from tests.stages.pruned import (
    FEW,
    Killed,
    Options,
    assert_equal,
    kill_in_round,
    run,
    with_idle_block,
)

pytestmark = pytest.mark.usefixtures("brief_timing")


def test_half_the_channels_go_and_the_fine_tune_brings_the_accuracy_back(
    trained: Path, tmp_path: Path, digits: DataSet
) -> None:
    measured = run(trained, tmp_path, ratio=0.5, epochs=4, learning_rate=3e-3)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.keras", "signature.json"]
    assert Signature.read(tmp_path) == SIGNATURE

    details = measured.details
    assert [tuple(group.model_dump().values()) for group in details.groups] == [
        (("conv1",), 8, 4),
        (("conv2",), 16, 8),
        (("dense1",), 32, 16),
    ]
    assert details.parameters_after < 0.3 * details.parameters_before
    pruned, repaired = details.accuracy_before_finetune, measured.accuracy
    assert pruned.samples == repaired.samples == 360
    assert pruned.top1 < 0.9 < repaired.top1

    model = files.load(tmp_path / "model.keras")
    assert model.count_params() == details.parameters_after == measured.model.parameters
    assert [tensor.name for tensor in model.inputs] == ["image"]
    assert model.output_shape == (None, 10)
    outputs = evaluate.logits(model, SIGNATURE.preprocess(digits.test.images))
    correct = int((outputs.argmax(axis=1) == digits.test.labels).sum())
    assert correct == round(repaired.top1 * 360)


def test_left_as_they_are_the_settings_spare_the_dense_layers(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    default = Prune().layers
    with caplog.at_level("INFO", "stages"):
        details = run(trained, tmp_path, layers=default, ratio=0.5, epochs=0).details
    assert re.search(r", accuracy \d+\.\d+% on the test images before the fine-tune", caplog.text)
    assert [row.channels_after for row in details.groups] == [4, 8, 32]


@pytest.mark.parametrize("method", ["channels", "2:4"])
def test_ratio_0_copies_the_trained_model_byte_for_byte_whatever_the_method(
    trained: Path, tmp_path: Path, method: str
) -> None:
    measured = run(trained, tmp_path, ratio=0.0, method=method)
    for name in ("model.keras", "signature.json"):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes()
    details = measured.details
    assert all(row.channels_before == row.channels_after for row in details.groups)
    assert details.parameters_before == details.parameters_after
    assert details.rounds == ()
    assert measured.accuracy.top1 > 0.9
    assert measured.latency[0].runtime == "tf.function"


@pytest.mark.parametrize("method", ["channels", "magnitude"])
def test_the_fine_tune_is_without_dropout_and_with_what_else_is_random(
    trained: Path, tmp_path: Path, method: str
) -> None:
    inner = files.load(trained / "model.keras")
    x = image = keras.Input(SIGNATURE.input_shape, name="image")
    for layer in inner.layers[1:]:
        x = layer(x)
        if isinstance(layer, keras.layers.ReLU):
            x = keras.layers.GaussianNoise(0.01)(keras.layers.SpatialDropout2D(0.5)(x))
    x = keras.layers.Dropout(0.5, noise_shape=(None, 10))(x)
    source = tmp_path / "train"
    source.mkdir()
    files.save(keras.Model(image, x), source / "model.keras")
    SIGNATURE.write(source)
    found = run(source, tmp_path / "out", data=FEW, method=method, ratio=0.5, epochs=1)
    kinds = [type(each).__name__ for each in files.load(tmp_path / "out/model.keras").layers]
    assert "GaussianNoise" in kinds
    assert not [each for each in kinds if "Dropout" in each]
    assert found.accuracy.top1 > 0.5


def test_a_model_at_chance_is_not_pruned(trained: Path, tmp_path: Path) -> None:
    model = files.load(trained / "model.keras")
    model.get_layer("logits").set_weights([np.zeros((32, 10)), np.eye(10)[3]])
    (tmp_path / "train").mkdir()
    files.save(model, tmp_path / "train" / "model.keras")
    SIGNATURE.write(tmp_path / "train")
    with pytest.raises(ModelError, match="the trained model is no better than chance: "):
        run(tmp_path / "train", tmp_path / "out", ratio=0.0)
    assert list((tmp_path / "out").iterdir()) == []


def test_with_rounds_each_takes_the_same_share_of_what_is_left(
    trained: Path, tmp_path: Path
) -> None:
    options: Options = {"ratio": 0.75, "rounds": 2, "round_epochs": 0, "epochs": 0}
    details = run(trained, tmp_path, data=FEW, criterion="taylor", **options).details
    assert [row.epochs for row in details.rounds] == [0, 0]
    assert [row.channels_after for row in details.groups] == [2, 4, 8]
    once = run(trained, tmp_path / "once", data=FEW, ratio=0.5, epochs=0).details
    assert details.rounds[0].parameters == once.parameters_after


def test_across_the_network_as_many_multiply_adds_go_from_other_groups(
    trained: Path, tmp_path: Path
) -> None:
    options: Options = {"ratio": 0.5, "rounds": 2, "round_epochs": 0, "epochs": 0}
    resume = tmp_path / "resume"
    found = run(trained, tmp_path, resume, FEW, scope="global", criterion="taylor", **options)
    widths = [row.channels_after for row in found.details.groups]
    flat = flatten(files.load(trained / "model.keras"))
    even = {("conv1",): 4, ("conv2",): 8, ("dense1",): 16}
    assert widths != [*even.values()]
    limit = multiply_adds(structured.narrow(flat, even, layer_scores(flat, "l2", [])))
    assert 0.8 * limit < (found.model.multiply_adds or 0) <= limit
    # What a killed run decided is not decided again: scores may differ by a rounding.
    again = run(trained, tmp_path, resume, FEW, scope="global", criterion="l2", **options)
    assert [row.channels_after for row in again.details.groups] == widths


def test_the_network_has_the_widths_that_the_settings_name(trained: Path, tmp_path: Path) -> None:
    source = with_idle_block(trained, tmp_path / "train")
    widths = {"idle1": 0, "conv1": 3, "dense1": 20}
    found = run(source, tmp_path / "out", data=FEW, epochs=0, widths=widths)
    assert found.details.removed_blocks == (("idle1", "idle2"),)
    left = {row.layers[0]: row.channels_after for row in found.details.groups}
    assert left == {"conv1": 3, "conv2": 16, "idle1": 0, "dense1": 20}
    assert files.load(tmp_path / "out" / "model.keras").get_layer("dense1").units == 20


def test_the_fine_tune_learns_from_attention_maps_as_much_as_is_set(
    trained: Path, tmp_path: Path
) -> None:
    found = run(trained, tmp_path, data=FEW, ratio=0.5, epochs=1, map_distillation=1e6)
    # A squared distance of maps, of at least 0.001, counts a million times in the loss.
    assert found.details.history[0].loss > 1e3


def test_a_killed_run_goes_on_and_ends_with_the_weights_of_one_that_was_not_killed(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: Options = {"ratio": 0.75, "rounds": 2, "round_epochs": 0, "epochs": 1}
    run(trained, tmp_path / "whole", data=FEW, **options)
    with monkeypatch.context() as patched:
        kill_in_round(patched, 2)
        with pytest.raises(Killed):
            run(trained, tmp_path / "killed", tmp_path / "resume", FEW, **options)
    assert list((tmp_path / "killed").iterdir()) == []
    with monkeypatch.context() as patched:
        begun = kill_in_round(patched, 99)
        run(trained, tmp_path / "resumed", tmp_path / "resume", FEW, **options)
    assert len(begun) == 1
    assert_equal(tmp_path / "resumed", tmp_path / "whole")


def test_two_of_four_weights_of_every_layer_but_the_last_are_zero_after_the_fine_tune(
    trained: Path, tmp_path: Path
) -> None:
    measured = run(trained, tmp_path, method="2:4", epochs=1)
    model = files.load(tmp_path / "model.keras")
    assert is_two_of_four(model.get_layer("conv2").kernel.numpy())
    dense = model.get_layer("dense1").kernel.numpy()
    side = round((dense.shape[0] / 16) ** 0.5)
    channels_first = dense.reshape(side * side, 16, -1).swapaxes(0, 1).reshape(dense.shape)
    assert is_two_of_four(channels_first)
    details = measured.details
    assert [row.is_wide_enough for row in details.layers] == [False] * 3
    assert "CPU engines never do" in details.verdict
    assert measured.accuracy.top1 > 0.9


def test_magnitude_pruning_says_that_it_is_for_size(trained: Path, tmp_path: Path) -> None:
    options: Options = {"method": "magnitude", "ratio": 0.8, "rounds": 2, "round_epochs": 0}
    measured = run(trained, tmp_path, epochs=1, **options)
    size = measured.details.size
    assert size.compressed_bytes_after < 0.4 * size.compressed_bytes_before
    assert 0.7 < size.zero_share < 0.8
    assert "no dense engine runs it any faster" in measured.details.verdict
    assert measured.accuracy.top1 > 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"exclude_layers": ("conv3",)},
            r"prune\.exclude_layers names 'conv3'.*did you mean 'conv",
        ),
        ({"exclude_layers": ("conv1", "conv2", "dense1")}, r"all of its groups of layers"),
        ({"ratio": 0.01}, r"0\.01 removes no channel"),
        ({"method": "magnitude", "ratio": 1e-6, "epochs": 0}, r"made no weight zero"),
        ({"widths": {"conv1": 4}, "exclude_layers": ("conv1",)}, r"prune\.widths names 'conv1'"),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_is_written(
    trained: Path, tmp_path: Path, options: Options, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        run(trained, tmp_path, data=FEW, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_cannot_be_pruned_goes_on_byte_for_byte_and_says_so(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    measured = run(trained, tmp_path, channel_multiple=64)
    assert (tmp_path / "model.keras").read_bytes() == (trained / "model.keras").read_bytes()
    (note,) = measured.notes
    assert "goes on unpruned, because prune.channel_multiple leaves every group" in note
    (warned,) = [each for each in caplog.records if each.levelname == "WARNING"]
    assert warned.getMessage() == note
    assert measured.details.parameters_before == measured.details.parameters_after


def test_a_subclassed_model_is_refused_and_nothing_is_written(
    trained: Path, tmp_path: Path
) -> None:
    @keras.saving.register_keras_serializable("test_prune")
    class Own(keras.Model):
        def call(self, inputs: Any) -> Any:
            return inputs

    source, out = tmp_path / "train", tmp_path / "out"
    shutil.copytree(trained, source)
    model = Own()
    model.build((None, 28, 28, 1))
    model.save(source / "model.keras")
    with pytest.raises(ModelError, match="its layers cannot be read"):
        run(source, out)
    assert list(out.iterdir()) == []


def test_a_missing_model_is_refused_and_nothing_is_written(trained: Path, tmp_path: Path) -> None:
    source = tmp_path / "train"
    source.mkdir()
    shutil.copyfile(trained / "signature.json", source / "signature.json")
    with pytest.raises(ModelError, match=r"no model file .*model\.keras"):
        run(source, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_data_that_cannot_be_divided_are_refused_before_any_work(
    trained: Path, tmp_path: Path
) -> None:
    settings = PruneStage(data=Data(calibration_samples=1400))
    with pytest.raises(DataError, match=r"data\.calibration_samples is 1400"):
        prune.run(settings, {"train": trained}, tmp_path)
    assert list(tmp_path.iterdir()) == []
