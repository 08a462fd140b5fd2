from __future__ import annotations

from stages.settings import Training
from stages.training.fit import fit
from stages.training.profile import costliest
from tests.stages.conftest import DIGITS
from tests.stages.training.test_fit import small


def test_a_profile_names_the_operations_that_cost_most(digits, tmp_path):
    training = Training(epochs=2)
    logs = tmp_path / "logs"
    found = fit(small(), digits, DIGITS, training, label="train", logs=logs, is_profiled=True)[
        "profile"
    ]
    assert len(list((logs / "plugins" / "profile").rglob("*.xplane.pb"))) == 1
    assert 5 < len(found) <= 10
    assert any("Conv2D" in row["kind"] for row in found)
    assert [row["share"] for row in found] == sorted((row["share"] for row in found), reverse=True)
    assert sum(row["share"] for row in found) <= 1.0001
    assert all(row["calls"] > 0 and row["total_ms"] > 0 for row in found)


def test_without_a_profile_there_is_no_operation(tmp_path):
    assert costliest(tmp_path) == []
