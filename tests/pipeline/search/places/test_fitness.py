from __future__ import annotations

import numpy

from pipeline.search.places.fitness import Seen, difference, see
from stages.artifacts.file_lock import waiting
from stages.engines import environment


def test_a_node_sees_whether_the_folder_is_the_one_of_the_search(tmp_path):
    file = tmp_path / ".shared"
    elsewhere = f"does not see the folder '{tmp_path}' of the search"
    assert see(file, "token", []) == Seen(elsewhere)
    file.write_text("of another machine")
    assert see(file, "token", []) == Seen(elsewhere)
    file.write_text("token")
    assert see(file, "token", []).fault.startswith(f"does not see that '{tmp_path}' is locked")
    with waiting(file):
        assert see(file, "token", [tmp_path / "d.npz"]).fault == f"does not see '{tmp_path}/d.npz'"
        assert see(file, "token", [tmp_path]) == Seen(machine=environment.describe())


def test_nodes_with_other_processors_or_packages_differ():
    machine = environment.describe()
    other = machine.model_copy(
        update={"cpu": machine.cpu.model_copy(update={"model": "Another One"})}
    )
    newer = machine.model_copy(update={"packages": {**machine.packages, "numpy": "99.1"}})
    kernel = machine.model_copy(update={"platform": "Linux 99"})
    first = Seen(machine=machine)
    differing = f"processor ({machine.cpu.model}, Another One)"
    assert difference(first, Seen(machine=other)) == differing
    assert difference(first, Seen(machine=newer)) == f"numpy ({numpy.__version__}, 99.1)"
    assert difference(first, Seen(machine=kernel)) == ""
