"""The exact Fisher diagonal in closed form, against a loop over examples and classes.

    python benchmarks/exact_fisher.py

Both compute F_i = 1/N Σ_n Σ_y p(y|x_n) (∂ log p(y|x_n) / ∂θ_i)² of a 784-400-400-10 net. The loop
calls autograd once per example and class, as one would write it first. It is timed on a subset
(its cost per example is constant, and all of the examples take minutes), in slices that alternate
with the closed form, and scaled to the same number of examples. Both are compared on the subset.
Timed is the processor time of this process, which runs one thread.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import Tensor

from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.data.tasks import Examples, Scale, Task
from clsweep.methods.base import LearntTask
from clsweep.methods.parts.importance import fisher_diag
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params, zeros_like

SCALE = Scale(torch.full((1, 1, 1), 1 / 255), torch.zeros(1, 1, 1))


def example_sums(net: Net, params: Params, images: Tensor) -> Params:
    leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
    total = zeros_like(params)
    for image in images:
        log_p = net.apply(leaves, SCALE(image[None]), 0).log_softmax(1)[0]
        for value in log_p:
            grads = torch.autograd.grad(value, list(leaves.values()), retain_graph=True)
            for name, g in zip(leaves, grads, strict=True):
                total[name] += value.detach().exp() * g.square()
    return total


def closed_form(net: Net, params: Params, images: Tensor) -> Params:
    n = len(images)
    part = Examples(images, torch.arange(n), torch.zeros(n, dtype=torch.int64))
    task = Task(0, part, part, part, 10)
    return fisher_diag(net, params, LearntTask(task, SCALE, None, 0, generator(0, "fisher")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--subset", type=int, default=200, help="examples for the loop")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = generator(0, "images")
    shape = (options.examples, 1, 28, 28)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=rng)
    net = build_net(NetConfig(hidden=(400, 400)), (1, 28, 28), Heads("domain", (10,)))
    params = net.init(generator(0, "init"))

    loop_seconds, closed_seconds, total = [], [], zeros_like(params)
    for slice_ in images[: options.subset].chunk(3):
        began = time.process_time()
        closed_form(net, params, images)
        closed_seconds.append(time.process_time() - began)
        began = time.process_time()
        sums = example_sums(net, params, slice_)
        loop_seconds.append((time.process_time() - began) / len(slice_) * options.examples)
        total = {name: value + sums[name] for name, value in total.items()}
    loop, closed = statistics.median(loop_seconds), statistics.median(closed_seconds)

    found = closed_form(net, params, images[: options.subset])
    error = max(
        float((found[name] - value / options.subset).abs().max() / found[name].max())
        for name, value in total.items()
    )
    print(
        f"closed form {closed:.1f} s for {options.examples} images; loop {loop:.0f} s, from "
        f"{options.subset} images; x{loop / closed:.0f}; largest difference {error:.1e} of the "
        f"tensor's largest entry, on {options.subset} images"
    )


if __name__ == "__main__":
    main()
