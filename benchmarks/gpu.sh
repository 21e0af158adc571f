#!/usr/bin/env bash
# Runs what needs a CUDA device, on a machine that may have no more than torch, transformers, Pillow, NumPy and pytest.
# Usage: benchmarks/gpu.sh [PYTHON]
set -euo pipefail
cd "$(dirname "$0")/.."
python="${1:-python3}"
"$python" - <<'PY'
import torch
assert torch.cuda.is_available(), "no CUDA device here"
print("device:", torch.cuda.get_device_name(0), "torch", torch.__version__)
PY
echo "== image encoding and ITM on the GPU against the CPU"
"$python" benchmarks/gpu_against_cpu.py
echo "== half precision against float32 on the GPU"
"$python" benchmarks/precision.py
echo "== GPU tests"
# Without conftest.py, which needs the whole project's packages.
"$python" -m pytest -q -m gpu --noconftest -p no:cacheprovider tests/models/test_gpu.py
if "$python" -c "import faiss, pydantic_settings, sqlalchemy" 2>/dev/null; then
    "$python" -m pytest -q -m gpu -p no:cacheprovider tests/storage
else
    echo "skipped: the GPU tests of FAISS need faiss and the project's packages"
fi
