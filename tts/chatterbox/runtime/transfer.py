"""Between host and device through pinned memory, so that only who needs a value waits for it.

It does not know what is carried.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from audio.pcm import Samples


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host, on the device; the host does not wait."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def to_host(samples: Tensor) -> Samples:
    """Samples (N,) on the device as float32 on the host, once they are there."""
    if samples.device.type != "cuda":
        return np.asarray(samples.float().numpy())
    pinned = torch.empty(samples.shape, dtype=torch.float32, pin_memory=True)
    pinned.copy_(samples, non_blocking=True)
    torch.cuda.current_stream(samples.device).synchronize()
    return np.array(pinned.numpy())  # the pinned memory goes back to its pool
