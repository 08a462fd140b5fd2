from __future__ import annotations

from stages.settings import Training
from stages.training.fit import TrainingRun, fit
from tests.stages.conftest import DIGITS
from tests.stages.training.test_fit import small


def test_a_profile_is_written_for_tensorboard_and_its_folder_recorded(digits, tmp_path, caplog):
    logs = tmp_path / "logs"
    run = TrainingRun(digits, DIGITS, Training(epochs=2), "train", logs=logs, profile=logs)
    with caplog.at_level("INFO", logger="stages"):
        assert fit(small(), run).profile == str(logs)
    assert len(list((logs / "plugins" / "profile").rglob("*.xplane.pb"))) == 1
    assert f"tensorboard --logdir {logs}" in caplog.text


def test_without_a_folder_no_profile_is_taken(digits):
    assert fit(small(), TrainingRun(digits, DIGITS, Training(epochs=1), "train")).profile is None
