#!/usr/bin/env bash
# Compiles PyCUDA from its published sources into a Python environment, on a machine without CUDA.
#
#     build_pycuda.sh PYTHON
#
# Headers and sources come from the package index with the hashes of requirements.lock; what is
# linked to, and needed to import the result where there is no GPU, is the stand-in driver.cpp.
set -euo pipefail
python=$1
here=$(cd "$(dirname "$0")" && pwd)
if "$python" -c 'import pycuda' 2>/dev/null; then exit 0; fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m pip download --quiet --no-deps --no-build-isolation --require-hashes \
    --dest "$work" --requirement "$here/requirements.lock"
mkdir "$work/sources" "$work/lib"
for wheel in "$work"/nvidia_*.whl; do "$python" -m zipfile -e "$wheel" "$work/headers"; done
rm "$work"/nvidia_*.whl
tar -xzf "$work"/pycuda-*.tar.gz -C "$work/sources" --strip-components=1
g++ -shared -fPIC -std=c++17 -O1 -Wl,-soname,libcuda.so.1 -o "$work/lib/libcuda.so" "$here/driver.cpp"
cat > "$work/sources/siteconf.py" <<CONF
CUDA_INC_DIR = ["$work/headers/nvidia/cuda_runtime/include", "$work/headers/nvidia/cuda_profiler_api/include"]
CUDADRV_LIB_DIR = ["$work/lib"]
CUDA_ENABLE_CURAND = False
CXXFLAGS = ["-O1", "-g0", "-w"]
CONF
"$python" -m pip install --quiet --no-deps --no-index "$work"/*.whl
"$python" -m pip install --quiet --no-deps --no-index --no-build-isolation "$work/sources"
"$python" -c 'import pycuda; print("PyCUDA", pycuda.VERSION_TEXT, "is built")'
