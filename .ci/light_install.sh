#!/usr/bin/env bash
# The wheel in environments that hold nothing else: an engine is used with LiteRT alone, and built
# and measured with ONNX Runtime alone. Pythons: the oldest and the newest that are there.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

.venv/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$work" .
rm -rf build
.venv/bin/python -m tests.converted_artifact "$work"   # artifacts/convert, and a bundle of LiteRT

unset PYTHONPATH  # what lies there would count as installed
pythons=()
for version in 3.10 3.11 3.12 3.13; do
    for python in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python; do
        if "$python" -c '' 2>/dev/null; then pythons+=("$python"); break; fi
    done
done
install() {  # python, extra -> $work/<extra>
    rm -rf "$work/$2"
    "$1" -m venv "$work/$2"
    "$work/$2/bin/pip" install --quiet --disable-pip-version-check "$(ls "$work"/*.whl)[$2]"
    du -sm "$work/$2/lib/"python*/site-packages | sed "s|\s.*| MB with [$2] on $("$1" --version)|"
}
cd "$work"
for python in "${pythons[0]}" "${pythons[-1]}"; do
    install "$python" litert
    "$work/litert/bin/pipeline" predict bundle bundle/samples
    "$work/litert/bin/python" bundle/predict.py --check
    install "$python" onnxruntime
    rm -rf box && mkdir -p box/artifacts && cp -r artifacts/convert box/artifacts/
    (cd box && "$work/onnxruntime/bin/pipeline" run build benchmark)
    (cd box && "$work/onnxruntime/bin/pipeline" export --to bundle && bundle=bundle &&
        "$work/onnxruntime/bin/pipeline" predict bundle bundle/samples)
done
