"""Losses and gradients as CUDA graphs: recorded once, then replayed.

A supernet's step launches thousands of small kernels, and a GPU waits for Python between them. A graph is launched as
one. It always reads and writes the same memory, so batches are copied in and results are copied out. (`torch.compile`
is no alternative: it took minutes for one cell.)
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nasda.bilevel import Gradients, Loss, copies, differentiate, frozen_statistics
from nasda.devices import seeded

Outputs = tuple[Tensor, Gradients]
Compute = Callable[[], Outputs]
Record = Callable[[Compute], Compute]

WARM_UPS = 3  # runs before recording: cuDNN, cuBLAS and autograd set themselves up, which a graph must not contain


@dataclass(frozen=True)
class BatchLoss:
    """A loss of one batch: `function(*batch)`, with dropout seeded by the numbers `seed`."""

    function: Callable[..., Tensor]
    batch: Sequence[Tensor]
    seed: tuple[int, ...]

    def __call__(self) -> Tensor:
        with seeded(*self.seed):
            return self.function(*self.batch)


class Recording(NamedTuple):
    """The memory that a recorded computation reads its batch from, and a function that repeats it."""

    batch: list[Tensor]
    replay: Compute


class Recorded:
    """`bilevel.differentiate` for a `BatchLoss` on `network`, recorded on first use.

    There is one recording for each function, shapes of its batch and choice of parameters. Change parameters, buffers
    and gradients in place only: their memory must stay where it is. `record` takes a computation and returns a function
    that repeats it on the same memory, such as `CudaGraphs`.
    """

    def __init__(self, network: nn.Module, record: Record) -> None:
        self.network, self.record = network, record
        self.recordings: dict[Hashable, Recording] = {}

    def __call__(self, loss: Loss, parameters: Sequence[Tensor]) -> Outputs:
        if not isinstance(loss, BatchLoss):
            raise TypeError("only a BatchLoss can be recorded: any other function does not say what its batch is")
        shapes = tuple(values.shape for values in loss.batch)
        key = loss.function, shapes, tuple(map(id, parameters))
        if key not in self.recordings:
            self.recordings[key] = self._recording(loss, parameters)
        batch, replay = self.recordings[key]
        for place, values in zip(batch, loss.batch, strict=True):
            place.copy_(values)
        with seeded(*loss.seed):  # a replay reads the generator's state, as the recorded run did
            value, gradients = replay()
        # Copied, because the next replay of any recording may write over them.
        return value.clone(), tuple(copies(gradients))

    def _recording(self, loss: BatchLoss, parameters: Sequence[Tensor]) -> Recording:
        batch = copies(loss.batch)

        def compute() -> Outputs:
            return differentiate(lambda: loss.function(*batch), parameters)

        with frozen_statistics(self.network), seeded(*loss.seed):  # so that warming up changes no state
            return Recording(batch, self.record(compute))


class CudaGraphs:
    """Records computations on `device` as CUDA graphs. All graphs share one pool of memory and are recorded on one
    stream, so that they reuse each other's temporary memory."""

    def __init__(self, device: torch.device) -> None:
        self.stream, self.pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()

    def __call__(self, compute: Compute) -> Compute:
        current = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            for _ in range(WARM_UPS):
                compute()
        current.wait_stream(self.stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
            outputs = compute()

        def replay() -> Outputs:
            graph.replay()
            return outputs

        return replay
