"""Marks that several tests carry."""

import pytest
import torch

needs_cuda = pytest.mark.skipif(
    not torch.cuda.is_available(),
    reason="needs a CUDA device, and CI has none: run pytest by hand on a machine with an NVIDIA GPU",
)
