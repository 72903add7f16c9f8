"""Makes the same trial give the same bits. Import it before torch computes anything: MKL reads its setting once, at its first call.

Without it MKL picks other kernels for matrices that happen to lie at another alignment in memory, and a fp32 product can differ in its
last bits from run to run. The setting costs about 5 % of a small product's time (docs/decisions/007-determinism.md).
"""

from __future__ import annotations

import os

os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
# The same promise on GPUs; cuBLAS reads it at its first call too.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
