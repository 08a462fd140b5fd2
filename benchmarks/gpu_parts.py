"""A folder in parts that are small enough to be sent one by one, and the folder made of them again.

    python benchmarks/gpu_parts.py split NETWORKS PARTS     writes PARTS/networks.part01, ... and
                                                            PARTS/SHA256SUMS
    python benchmarks/gpu_parts.py join PARTS NETWORKS      checks every part and unpacks them

The parts are one tar file in pieces of at most 55 MiB. They may arrive in any order and more than
once, in one folder. Needs nothing but Python.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

PART_BYTES = 55 << 20
NAME, SUMS = "networks.part", "SHA256SUMS"


def split(networks: Path, folder: Path, largest: int = PART_BYTES) -> list[Path]:
    """Write `networks` into `folder` in parts of at most `largest` bytes; the parts.

    Parts that are there from before are removed. Raises ValueError for a folder without networks.
    """
    found = names(networks)
    if not found:
        raise ValueError(f"{networks} holds no networks: make them with gpu_prepare.py")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{NAME}*"):
        old.unlink()
    parts: list[Path] = []
    with tempfile.TemporaryFile(dir=folder) as whole:
        with tarfile.open(fileobj=whole, mode="w") as archive:
            for name in found:
                archive.add(networks / name / "convert", f"{name}/convert")
        whole.seek(0)
        while piece := whole.read(largest):
            parts.append(folder / f"{NAME}{len(parts) + 1:02}")
            parts[-1].write_bytes(piece)
    lines = [f"{sha256(file)}  {file.name}\n" for file in parts]
    (folder / SUMS).write_text("".join(lines))
    return parts


def join(folder: Path, networks: Path) -> list[str]:
    """Unpack the parts in `folder` into `networks`; the names of the networks.

    Raises ValueError for a part that is missing or damaged, before anything is written.
    """
    if not (folder / SUMS).is_file():
        raise ValueError(f"there is no {folder / SUMS}: send it along with the parts")
    listed = [line.split() for line in (folder / SUMS).read_text().splitlines()]
    faults = [
        f"{name} is {'damaged' if (folder / name).is_file() else 'missing'}"
        for digest, name in listed
        if not (folder / name).is_file() or sha256(folder / name) != digest
    ]
    if faults:
        raise ValueError(f"{', '.join(faults)}: send again into {folder}")
    with tempfile.TemporaryFile(dir=folder) as whole:
        for _, name in listed:
            with (folder / name).open("rb") as part:
                shutil.copyfileobj(part, whole)
        whole.seek(0)
        with tarfile.open(fileobj=whole) as archive:
            # Pythons before 3.10.12 have no filters: what is unpacked is what was checked.
            archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
            archive.extractall(networks)
    return names(networks)


def names(networks: Path) -> list[str]:
    """Of the networks in a folder of gpu_prepare.py."""
    return sorted(file.parents[1].name for file in networks.glob("*/convert/signature.json"))


def sha256(file: Path) -> str:
    """The digest of a file, in hexadecimal."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("split", "join"))
    parser.add_argument("source", type=Path)
    parser.add_argument("to", type=Path)
    options = parser.parse_args()
    try:
        if options.what == "split":
            for file in split(options.source, options.to):
                print(f"{file.name}: {file.stat().st_size / (1 << 20):.1f} MiB")
        else:
            print(f"{options.to}: {', '.join(join(options.source, options.to))}")
    except (ValueError, OSError, tarfile.TarError) as error:
        sys.exit(f"gpu_parts.py: {error}")


if __name__ == "__main__":
    main()
