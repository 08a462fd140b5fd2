from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from stages.datasets import own_function
from stages.datasets.loading import load_dataset, load_test_split
from stages.errors import DataError
from stages.settings import Data

ARRAYS = """
from pathlib import Path
import numpy as np
def arrays(part):
    count = {"train": 200, "test": 40}[part]
    images = np.arange(count * 4, dtype=np.uint32).view(np.uint8).reshape(count, 4, 4, 1)
    return images, np.arange(count) % 4
def load(part):
    return arrays(part)
"""
Write = Callable[..., Data]
NUMBERS = itertools.count()


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a module, each with a name of its own, and give the settings that read it."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def written(text: str = "", **more: object) -> Data:
        own_function._read.cache_clear()
        name = f"own_images_{next(NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(ARRAYS + text)
        settings = {"source": f"{name}:load", "calibration_samples": 20, **more}
        return Data.model_validate(settings)

    yield written
    own_function._read.cache_clear()


def test_arrays_are_a_data_set(write: Write) -> None:
    data = write()
    dataset = load_dataset(data)
    assert dataset.class_names == ("0", "1", "2", "3")
    assert [len(each) for each in (dataset.train, dataset.validation)] == [160, 20]
    seen = [split.images for split in (dataset.train, dataset.validation, dataset.calibration)]
    assert len({image.tobytes() for images in seen for image in images[:]}) == 200
    assert len(load_test_split(data)) == 40


def test_a_part_is_read_once_for_its_names_and_its_images(write: Write, tmp_path: Path) -> None:
    data = write(
        f"def load(part):\n    Path({str(tmp_path)!r}, part).touch(exist_ok=False)\n"
        "    return arrays(part)"
    )
    load_dataset(data)
    assert (tmp_path / "train").exists()
    assert (tmp_path / "test").exists()


TENSORFLOW = "import tensorflow as tf\ndef load(part):\n    data = "
OF_ARRAYS = f"{TENSORFLOW}tf.data.Dataset.from_tensor_slices(arrays(part))\n    return data"
BROKEN = """
class Broken(tf.data.Dataset):
    def __init__(self, data):
        self.data = data
        super().__init__(data._variant_tensor)
    def _inputs(self):
        return [self.data]
    @property
    def element_spec(self):
        return self.data.element_spec
    @property
    def {0}(self):
        raise RuntimeError("no {0}")
read = load
def load(part):
    return Broken(read(part))
"""
SEQUENCE = """
import keras
class Sequence(keras.utils.PyDataset):
    def __init__(self, part):
        super().__init__()
        self.images, self.labels = arrays(part)
    def __len__(self):
        return 5
    def __getitem__(self, number):
        return self.images[number::5], self.labels[number::5]
def load(part):
    return Sequence(part)
"""


@pytest.mark.parametrize("text", [OF_ARRAYS, f"{OF_ARRAYS}.batch(7)"])
def test_a_tf_dataset_is_read_batch_by_batch_or_image_by_image(write: Write, text: str) -> None:
    found, expected = (load_dataset(write(each)) for each in (text, ""))
    np.testing.assert_array_equal(found.test.images[:], expected.test.images[:])
    np.testing.assert_array_equal(found.train.labels, expected.train.labels)


@pytest.mark.parametrize(
    ("targets", "shape"),
    [("np.eye(4, dtype=np.uint8)[y] | [1, 0, 0, 0]", (40, 4)), ("x[..., 0] % 2", (40, 4, 4))],
)
def test_single_images_come_with_targets_of_any_shape(
    write: Write, targets: str, shape: tuple[int, ...]
) -> None:
    text = f"\n    x, y = arrays(part)\n    return data.from_tensor_slices((x, {targets}))"
    split = own_function.read(write(f"{TENSORFLOW}tf.data.Dataset{text}"), "test")
    assert (split.images.shape, split.labels.shape) == ((40, 4, 4, 1), shape)


def test_a_py_dataset_is_read_in_the_order_of_its_batches(write: Write) -> None:
    test, expected = (own_function.read(write(each), "test") for each in (SEQUENCE, ""))
    order = np.concatenate([np.arange(40)[number::5] for number in range(5)])
    np.testing.assert_array_equal(test.images[:], expected.images[:][order])
    np.testing.assert_array_equal(test.labels, expected.labels[order])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("del load", "cannot be imported: module .* has no attribute 'load'"),
        ("import no_such_package", "cannot be imported: No module named 'no_such_package'"),
        ("1 / 0", "imported, raised ZeroDivisionError"),
        ("def load(): ...", "'train' raised TypeError"),
        ("def load(part): raise ValueError('no disk')", "raised ValueError: no disk"),
        ("def load(part): return iter([1])", r"returned a list_iterator, expected \(images, lab"),
        ("def load(part): return arrays(part)[0]", "returned a ndarray, expected"),
        ("def load(part): return (*arrays(part), 1)", "got 3 values, expected images and labels"),
        ("def load(part): return 'x', [1]", "got a str, expected arrays of NumPy"),
        ("def load(part): x, y = arrays(part); return x + y[0], y", "images are int64, expected"),
        ("def load(part): x, y = arrays(part); return x[0], y[0]", "labels are a single int64"),
        ("def load(part): x, y = arrays(part); return x, y[:9]", "200 images but 9 labels"),
        (f"{OF_ARRAYS}.repeat()", "RepeatDataset without end, expected one pass over all images"),
        (f"{OF_ARRAYS}.take(0)", "gives no batch, expected at least one"),
        (f"{SEQUENCE}Sequence.num_batches = None", "returned a Sequence without end"),
        (
            f"{SEQUENCE}Sequence.__getitem__ = lambda self, n: (self.images[:, n:], self.labels)",
            r"images of batch 1 are \(3, 4, 1\), those of the first \(4, 4, 1\)",
        ),
        (f"{SEQUENCE}Sequence.__getitem__ = lambda self, n: 1 / 0", "raised ZeroDivisionError"),
        (f"{SEQUENCE}del Sequence.__len__", "raised NotImplementedError: You need to implement"),
        (f"{SEQUENCE}Sequence.__len__ = lambda self: 1 / 0", "raised ZeroDivisionError"),
        (f"{SEQUENCE}Sequence.num_batches = 2.5", "raised TypeError: 'float'"),
        (
            "class Lazy:\n    def __array__(self, *_, **__): raise OSError('disk\\nlost')\n"
            "def load(part): return Lazy(), Lazy()",
            "raised OSError: disk lost",
        ),
        (f"{OF_ARRAYS}\n{BROKEN.format('cardinality')}", "raised RuntimeError: no cardinality"),
        (f"{OF_ARRAYS}\n{BROKEN.format('element_spec')}", "raised RuntimeError: no element_spec"),
        (f"{OF_ARRAYS}\n{BROKEN.format('batch')}", "raised RuntimeError: no batch"),
    ],
)
def test_what_is_not_fit_is_refused_in_clear_words(write: Write, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        own_function.class_names(write(text))
    assert str(caught.value).count("\n") <= 1


def test_a_generator_without_end_is_refused_at_the_limit(write: Write) -> None:
    endless = """
import itertools, tensorflow as tf
def load(part):
    spec = (tf.TensorSpec((None, 256, 256, 1), tf.uint8), tf.TensorSpec((None,), tf.int64))
    batch = np.zeros((8, 256, 256, 1), np.uint8), np.zeros(8, np.int64)
    return tf.data.Dataset.from_generator(lambda: itertools.repeat(batch), output_signature=spec)
"""
    with pytest.raises(DataError, match=r"allows, 1 MiB, and may be without end: 2 batches"):
        own_function.class_names(write(endless, max_unpacked_mib=1))


def test_arrays_that_are_larger_than_the_limit_are_refused(write: Write) -> None:
    large = "def load(part): return np.zeros((24, 256, 256, 1), np.uint8), np.zeros(24, int)"
    with pytest.raises(DataError, match=r"gives 2 MiB, more than .*_mib allows, 1 MiB") as caught:
        own_function.class_names(write(large, max_unpacked_mib=1))
    assert "data.max_unpacked_mib=2" in caught.value.hint
    assert own_function.class_names(write(large, max_unpacked_mib=2)) == ("0",)


def test_another_order_under_the_same_version_is_refused(write: Write, tmp_path: Path) -> None:
    order = tmp_path / "seed"
    order.write_text("1")
    shuffled = f"""
def load(part):
    images, labels = arrays(part)
    order = np.random.default_rng(int(Path({str(order)!r}).read_text())).permutation(len(labels))
    return images[order], labels[order]
"""
    data = write(shuffled)
    own_function.read(data, "train")
    order.write_text("2")
    own_function._read.cache_clear()
    with pytest.raises(DataError, match=r"'train' gives other images, or another order") as caught:
        own_function.read(data, "train")
    assert "data.version=NAME" in caught.value.hint
    own_function.read(data.model_copy(update={"version": "second"}), "train")


def test_without_a_function_the_setting_is_asked_for() -> None:
    with pytest.raises(DataError, match=r"read from data\.source, which is not set"):
        load_test_split(Data(name="source"))


OF_INPUTS = """
def named(part):
    images, labels = arrays(part)
    return {"camera": images, "numbers": images.reshape(-1, 16).astype("float64")}, labels
def load(part):
    return named(part)
"""
BATCHED = (
    f"{OF_INPUTS}\n{TENSORFLOW}tf.data.Dataset.from_tensor_slices(named(part))\n    return data"
)
SEQUENCE_OF_INPUTS = f"""{OF_INPUTS}\n{SEQUENCE}
class Named(Sequence):
    def __getitem__(self, number):
        images, labels = super().__getitem__(number)
        return {{"numbers": images.reshape(-1, 16), "camera": images}}, labels
def load(part):
    return Named(part)
"""


@pytest.mark.parametrize("text", [OF_INPUTS, BATCHED, f"{BATCHED}.batch(7)"])
def test_a_dictionary_of_arrays_is_of_several_inputs(write: Write, text: str) -> None:
    found = load_dataset(write(text)).test
    expected = own_function.read(write(), "test")
    assert found.images.dtype.names == ("camera", "numbers")
    np.testing.assert_array_equal(found.images["camera"], expected.images[:])
    numbers = expected.images[:].reshape(-1, 16)
    np.testing.assert_array_equal(found.images["numbers"], numbers.astype(np.float32))
    np.testing.assert_array_equal(found.labels, expected.labels)


def test_a_py_dataset_gives_dictionaries(write: Write) -> None:
    found, expected = (
        own_function.read(write(each), "test") for each in (SEQUENCE_OF_INPUTS, SEQUENCE)
    )
    np.testing.assert_array_equal(found.images["camera"], expected.images[:])
    assert found.images["numbers"].dtype == np.uint8


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "def load(part): x, y = named(part); return {**x, 'numbers': x['numbers'][:9]}, y",
            "the inputs are 200 of 'camera', 9 of 'numbers'",
        ),
        (
            "def load(part): x, y = named(part); return list(x.values()), y",
            "a list, expected arrays",
        ),
        (
            f"{SEQUENCE}\nSequence.__getitem__ = lambda self, n: ({{'a': self.images, chr(98 + n): "
            "self.images}, self.labels)",
            "batch 1 has the inputs a, c, expected the inputs a, b",
        ),
        (
            f"{SEQUENCE}\nSequence.__getitem__ = lambda self, n: ({{'a': self.images, 'b': "
            "self.images[:, n:]}, self.labels)",
            r"input 'b' of batch 1 is \(3, 4, 1\) uint8, expected \(4, 4, 1\) uint8",
        ),
        (
            "def load(part):\n    x, y = named(part)\n"
            "    return ({**x, 'more': x['numbers']} if part == 'test' else x), y",
            "the test part has the inputs camera, more, numbers, expected the inputs camera, numb",
        ),
    ],
)
def test_dictionaries_that_do_not_fit_are_refused(write: Write, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        load_dataset(write(f"{OF_INPUTS}\n{text}"))


def test_other_names_for_the_same_arrays_are_other_content(write: Write, tmp_path: Path) -> None:
    turn = f"Path({str(tmp_path / 'turn')!r})"
    data = write(
        f"{OF_INPUTS}\ndef load(part):\n    x, y = arrays(part)\n"
        f"    return {{'a': x, 'c' if {turn}.exists() else 'b': x}}, y"
    )
    own_function.read(data, "test")
    (tmp_path / "turn").touch()
    own_function._read.cache_clear()
    with pytest.raises(DataError, match="gives other images"):
        own_function.read(data, "test")
