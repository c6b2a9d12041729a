"""Training steps per second, against a plain torch loop over the same net, optimiser and batches.

    python benchmarks/step_rate.py

The plain loop is what anybody would write: `nn.Sequential`, the default form of `torch.optim`, a
shuffled index cut into batches, `zero_grad`, `backward`, `step`. Its images were made floating
point beforehand, outside of the measured time; clsweep's images lie in memory as bytes, and the
time of turning them into floating point counts against clsweep.

Every ratio is plain loop / variant, of medians over rounds in which all variants take turns, so
that a slower minute of the machine slows all of them. What is timed is the processor time of this
process, which runs one thread: on an idle machine it is the time on the clock, and on a busy one
it leaves the neighbours out.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clsweep import methods
from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.data.tasks import Examples, Scale
from clsweep.methods.parts.losses import plain_phase
from clsweep.methods.parts.penalty import Anchor
from clsweep.methods.regulariser_hypers import EwcHyper
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.training.config import TrainingConfig
from clsweep.training.engine import Setting, State, train_phase

N_IMAGES = 10_000
LR = 0.001
CASES = (((100, 100), 10, 500), ((400, 400), 128, 79))  # hidden, batch size, steps per round
_hidden: tuple[int, ...] = ()  # read by `module`, which is called by its import path


def module(input_shape: tuple[int, int, int], n_outputs: int) -> nn.Sequential:
    widths = [784, *_hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for n_in, n_out in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], n_outputs))


def plain_loop(
    images: Tensor, labels: Tensor, optimizer: str, size: int, n_steps: int, anchored: bool
) -> Callable[[], None]:
    net = module((1, 28, 28), 10)
    omega = [torch.ones_like(value) for value in net.parameters()]
    star = [value.detach().clone() for value in net.parameters()]

    def loop() -> None:
        made = torch.optim.SGD if optimizer == "sgd" else torch.optim.Adam
        opt = made(net.parameters(), lr=LR)
        step = 0
        while step < n_steps:
            order = torch.randperm(len(images))
            for rows in order.split(size)[: n_steps - step]:
                opt.zero_grad()
                loss = F.cross_entropy(net(images[rows]), labels[rows])
                if anchored:
                    for value, o, s in zip(net.parameters(), omega, star, strict=True):
                        loss = loss + 0.5 * (o * (value - s) ** 2).sum()
                loss.backward()
                opt.step()
                step += 1

    return loop


def clsweep_loop(
    examples: Examples, optimizer: str, size: int, n_steps: int, *, custom: bool, anchored: bool
) -> Callable[[], None]:
    config = (
        NetConfig(name="custom", factory=f"{__name__}:module")
        if custom
        else NetConfig(hidden=_hidden)
    )
    net = build_net(config, (1, 28, 28), Heads("domain", (10, 10)))
    params = net.init(generator(0, "init"))
    scale = Scale(torch.full((1, 1, 1), 1 / 255), torch.zeros(1, 1, 1))
    training = TrainingConfig(optimizer=optimizer, lr=LR, batch_size=size, steps=n_steps)
    ewc = methods.build("ewc", net, EwcHyper(lam=1.0))
    ones = {name: torch.ones_like(value) for name, value in params.items()}
    memory = {"anchor": Anchor(ones, params)} if anchored else {}
    phase = ewc.phases[0] if anchored else plain_phase(net)

    def loop() -> None:
        train_phase(
            phase,
            State(params, memory),
            examples,
            Setting(net, scale, training, 0),
            task=1,
            n_steps=n_steps,
        )

    return loop


def medians(variants: dict[str, Callable[[], None]], n_rounds: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for round_index in range(n_rounds + 1):
        for name, run in variants.items():
            began = time.process_time()
            run()
            if round_index:  # the first round warms up
                seconds[name].append(time.process_time() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    n_rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    rng = generator(0, "images")
    raw = torch.randint(0, 256, (N_IMAGES, 1, 28, 28), dtype=torch.uint8, generator=rng)
    labels = torch.randint(0, 10, (N_IMAGES,), generator=rng)
    examples = Examples(raw, torch.arange(N_IMAGES), labels)
    images = raw.float() / 255
    global _hidden
    for hidden, size, n_steps in CASES:
        _hidden = hidden
        for optimizer in ("sgd", "adam"):
            ours = (examples, optimizer, size, n_steps)
            plain = (images, labels, optimizer, size, n_steps)
            variants = {
                "plain": plain_loop(*plain, anchored=False),
                "clsweep": clsweep_loop(*ours, custom=False, anchored=False),
                "custom net": clsweep_loop(*ours, custom=True, anchored=False),
                "EWC": clsweep_loop(*ours, custom=False, anchored=True),
                "plain with penalty": plain_loop(*plain, anchored=True),
            }
            seconds = medians(variants, n_rounds)
            base = seconds["plain"]
            name = "-".join(map(str, (784, *hidden, 10)))
            print(
                f"{name}, batch {size}, {optimizer}: plain {n_steps / base:.0f} steps/s; ", end=""
            )
            shown = ("clsweep", "custom net", "EWC")
            print(", ".join(f"{key} x{base / seconds[key]:.2f}" for key in shown), end="")
            against = seconds["plain with penalty"] / seconds["EWC"]
            print(f"; EWC against a plain loop with the penalty x{against:.2f}", flush=True)


if __name__ == "__main__":
    main()
