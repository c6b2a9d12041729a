"""GEM's steps along 20 permuted MNIST tasks, against a loop with one pass per past task.

    python benchmarks/gem.py --data-root DIR
    python benchmarks/gem.py --data-root DIR --official FOLDER    # beside the authors' own code

The study is configs/reproduce/gem_permutations.toml: 784-100-100-10, 1,000 images and 256 memories
per task, batches of 10. The loop is what the method's equations say: for every past task a pass
forward and a pass back over its memories, then one over the batch, the same quadratic programme,
and a step. Its memories were made floating point beforehand; its programme is solved by the same
function. Both learn every task from the same network, rounds alternate, and the network that
clsweep is left with goes on to the next task. Before every task both compute the past gradients
of one network, which must agree.

FOLDER is a copy of github.com/facebookresearch/GradientEpisodicMemory, whose licence forbids
commercial use; nothing of it is kept here. Its network learns the same images with the same
numbers by `observe`, one call per batch; making its images floating point, its evaluation and its
output are left out of its time. Set OMP_NUM_THREADS=1, since it computes with NumPy as well.

Every ratio is loop / clsweep, of medians over rounds. What is timed is the processor time of this
process, which runs one thread. The arithmetic is counted as well, in floating-point operations of
the matrix products that the gradients cannot do without, and put against the rate at which those
same products run alone: what is left of the loop's time above it is all that anybody could save.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clsweep import methods
from clsweep.data import benchmarks
from clsweep.data.rng import generator
from clsweep.data.tasks import Task, TaskSequence
from clsweep.methods import gem
from clsweep.methods.base import LearntTask, Memory, Method
from clsweep.methods.parts.buffer import Buffer
from clsweep.methods.parts.losses import plain_phase
from clsweep.methods.parts.task_gradients import TaskExamples, task_gradients
from clsweep.nets.build import build_net
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params
from clsweep.study.configurations import configurations
from clsweep.study.study import load_study
from clsweep.training import engine
from clsweep.training.learner import initial_params

STUDY = Path(__file__).resolve().parents[1] / "configs" / "reproduce" / "gem_permutations.toml"
SHOWN = (1, 5, 10, 19)  # past tasks
TOLERANCE = 1e-5
# The functions of clsweep's GEM whose time is counted as a part of its own.
PARTS = {"gradients": "task_gradients", "programme": "dual_weights"}

Seconds = dict[str, float]  # by part; 'step' for everything
Found = dict[str, Seconds]  # by variant


class Setting(NamedTuple):
    """What both variants share."""

    net: Net
    sequence: TaskSequence
    hyper: Any
    training: Any

    def n_steps(self, task: Task) -> int:
        """Gradient steps on a task."""
        return int(self.training.n_steps(len(task.train)))


class Clock:
    """Processor seconds of named parts."""

    def __init__(self) -> None:
        self.seconds: Seconds = defaultdict(float)

    def timed(self, part: str, run: Callable[..., Any]) -> Callable[..., Any]:
        """`run`, whose seconds are added to those of `part`."""
        self.seconds[part] += 0.0  # also of a part that no step needs

        def wrapped(*args: Any) -> Any:
            began = time.process_time()
            found = run(*args)
            self.seconds[part] += time.process_time() - began
            return found

        return wrapped


def module_of(params: Params, input_shape: tuple[int, int, int]) -> nn.Sequential:
    """The same perceptron as a module; weights and biases stand in `params` in their order."""
    layers: list[nn.Module] = [nn.Flatten()]
    for weight in [value for value in params.values() if value.ndim == 2]:
        layers += [nn.Linear(weight.shape[1], weight.shape[0]), nn.ReLU()]
    module = nn.Sequential(*layers[:-1])
    with torch.no_grad():
        for own, value in zip(module.parameters(), params.values(), strict=True):
            own.copy_(value)
    return module


def gradient(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    module.zero_grad()
    F.cross_entropy(module(x), y).backward()
    return torch.cat([value.grad.flatten() for value in module.parameters()])


def gradients_in_turn(module: nn.Module, past: list[tuple[Tensor, Tensor]]) -> Tensor:
    return torch.stack([gradient(module, x, y) for x, y in past])


def looped(setting: Setting, params: Params, stored: TaskExamples, task: Task) -> Seconds:
    """The task learnt by the plain loop; seconds of its parts."""
    module = module_of(params, setting.sequence.input_shape)
    optimiser = torch.optim.SGD(module.parameters(), lr=setting.training.lr)
    past = [(stored.x[a:b], stored.y[a:b]) for a, b in stored.spans()]
    images = setting.sequence.scale(task.train.raw(torch.arange(len(task.train))))
    labels = task.train.labels
    clock, hyper = Clock(), setting.hyper
    rows_of = clock.timed("gradients", gradients_in_turn)
    weights_of = clock.timed("programme", gem.dual_weights)
    began = time.process_time()
    size = setting.training.batch_size
    for batch in torch.randperm(len(images)).split(size)[: setting.n_steps(task)]:
        rows = rows_of(module, past)
        g = gradient(module, images[batch], labels[batch])
        along = rows @ g
        if (along < 0).any():
            gram = (rows @ rows.T).double().numpy()
            in_trace = hyper.ridge_unit == "trace"
            v = weights_of(gram, along.double().numpy(), hyper.margin, hyper.ridge, in_trace)
            g = g + rows.T @ torch.from_numpy(v).float()
            sizes = [value.numel() for value in module.parameters()]
            for value, part in zip(module.parameters(), g.split(sizes), strict=True):
                value.grad.copy_(part.view_as(value))
        optimiser.step()
    return {**clock.seconds, "step": time.process_time() - began}


def swept(
    setting: Setting, method: Method, params: Params, memory: Memory, task: Task
) -> tuple[engine.State, Seconds]:
    """The task learnt by clsweep; where it stands then, and seconds of its parts."""
    clock = Clock()
    (phase,) = method.phases
    if phase.project is not None:  # the first task has no past
        phase = replace(phase, project=clock.timed("project", phase.project))
    originals = {name: getattr(gem, name) for name in PARTS.values()}
    for part, name in PARTS.items():
        setattr(gem, name, clock.timed(part, originals[name]))
    began = time.process_time()
    run = engine.train_phase(
        phase,
        engine.State(params, memory),
        task.train,
        engine.Setting(setting.net, setting.sequence.scale, setting.training, 0),
        task=task.index,
        n_steps=setting.n_steps(task),
    )
    seconds = {**clock.seconds, "step": time.process_time() - began}
    for name, original in originals.items():
        setattr(gem, name, original)
    return run, seconds


def stored_examples(setting: Setting, memory: Memory) -> TaskExamples:
    kept: Buffer = memory["slots"]
    counts = enumerate(kept.tasks[: kept.n_filled].bincount().tolist())
    images = setting.sequence.scale(kept.raw[: kept.n_filled])
    used = tuple((task, n) for task, n in counts if n)
    return TaskExamples(images, kept.labels[: kept.n_filled], used)


class Official:
    """The authors' code: a network of its own for every round, each going from task to task."""

    def __init__(self, folder: Path, setting: Setting, n_rounds: int) -> None:
        sys.path.insert(0, str(folder))
        made = importlib.import_module("model.gem").Net
        n_hidden = [len(value) for value in initial_params(setting.net, 0, "cpu").values()][0]
        numbers = argparse.Namespace(
            n_layers=2,
            n_hiddens=n_hidden,
            lr=setting.training.lr,
            n_memories=setting.hyper.memory_size,
            memory_strength=setting.hyper.margin,
            data_file="mnist_permutations.pt",
            cuda=False,
        )
        n_tasks, self.setting = len(setting.sequence.tasks), setting
        n_inputs = setting.sequence.tasks[0].train.raw(torch.arange(1)).numel()
        self.nets = [made(n_inputs, 10, n_tasks, numbers) for _ in range(n_rounds)]

    def learn(self, round_index: int, task: Task) -> Seconds:
        """The next task learnt by a round's network; the seconds of all its steps."""
        net, setting = self.nets[round_index], self.setting
        images = setting.sequence.scale(task.train.raw(torch.arange(len(task.train)))).flatten(1)
        order = torch.randperm(len(images), generator=generator(round_index, "order", task.index))
        batches = order.split(setting.training.batch_size)[: setting.n_steps(task)]
        began = time.process_time()
        for batch in batches:
            net.observe(images[batch], task.index, task.train.labels[batch])
        return {"step": time.process_time() - began}


def difference(setting: Setting, params: Params, stored: TaskExamples, newest: int) -> float:
    """Largest difference of the variants' gradients, in units of the row's largest entry."""
    full = {name: value.clone().requires_grad_() for name, value in params.items()}
    found = task_gradients(setting.net, full, stored, newest)
    module = module_of(params, setting.sequence.input_shape)
    past = [(stored.x[a:b], stored.y[a:b]) for a, b in stored.spans()]
    expected = gradients_in_turn(module, past)
    return float(((found - expected).abs().amax(1) / expected.abs().amax(1)).max())


def operations(params: Params, stored: TaskExamples) -> float:
    """Floating-point operations of the products that the past gradients need."""
    weights = [value for value in params.values() if value.ndim == 2]
    forward = sum(2 * len(stored.x) * w.numel() for w in weights)
    # Every layer's weight gradient costs as much as its outputs did, and so does the gradient of
    # its inputs, which nobody asks for at the first layer.
    return 3 * forward - 2 * len(stored.x) * weights[0].numel()


def products_alone(params: Params, stored: TaskExamples) -> Callable[[int], Seconds]:
    """These products, on random numbers, for one past task after another."""
    weights = [torch.rand_like(value) for value in params.values() if value.ndim == 2]
    parts = []
    for _, n in stored.counts:
        inputs = [torch.rand(n, w.shape[1]) for w in weights]
        deltas = [torch.rand(n, w.shape[0]) for w in weights]
        parts.append([list(part) for part in zip(weights, inputs, deltas, strict=True)])

    def run(round_index: int) -> Seconds:
        began = time.process_time()
        for part in parts:
            for layer, (w, a, d) in enumerate(part):
                a @ w.T, d.T @ a  # noqa: B018
                if layer:
                    d @ w  # noqa: B018
        return {"step": time.process_time() - began}

    return run


def medians(variants: dict[str, Callable[[int], Seconds]], n_rounds: int) -> Found:
    """Of every variant and part, the median over rounds in which all take turns."""
    found: dict[str, list[Seconds]] = {name: [] for name in variants}
    for round_index in range(n_rounds):
        for name, run in variants.items():
            found[name].append(run(round_index))
    return {
        name: {part: statistics.median(r[part] for r in rounds) for part in rounds[0]}
        for name, rounds in found.items()
    }


def described(past: int, n_steps: int, projected: float, counted: float, found: Found) -> str:
    """One line of the table: milliseconds per step, and the ratio."""
    ours, loop, alone = (found[name] for name in ("clsweep", "loop", "products"))
    ms = {part: 1e3 * value / n_steps for part, value in ours.items()}
    products = ms["project"] - ms["gradients"] - ms["programme"]
    beside = ""
    if "official" in found:
        theirs = found["official"]["step"]
        beside = f"; official {1e3 * theirs / n_steps:.1f} ms, x{theirs / ours['step']:.2f}"
    return (
        f"{past:2} past tasks: clsweep {ms['step']:.1f} ms a step = gradients "
        f"{ms['gradients']:.1f} + MMᵀ, Mg, Mᵀv {products:.1f} + programme {ms['programme']:.2f} + "
        f"rest {ms['step'] - ms['project']:.2f}; loop {1e3 * loop['step'] / n_steps:.1f} ms; "
        f"x{loop['step'] / ours['step']:.2f}; {projected:.0%} of steps projected; gradients need "
        f"{counted / 1e6:.0f} MFLOP, whose products alone take {1e3 * alone['step']:.1f} ms "
        f"({counted / alone['step'] / 1e9:.0f} GFLOP/s){beside}"
    )


def compared(
    setting: Setting,
    method: Method,
    params: Params,
    memory: Memory,
    task: Task,
    n_rounds: int,
    official: Official | None,
) -> tuple[engine.State, Found]:
    """A task learnt by all in turn: what clsweep makes of it, and all seconds."""
    stored = stored_examples(setting, memory)
    runs = []

    def ours(round_index: int) -> Seconds:
        run, seconds = swept(setting, method, params, memory, task)
        runs.append(run)
        return seconds

    variants = {
        "clsweep": ours,
        "loop": lambda _: looped(setting, params, stored, task),
        "products": products_alone(params, stored),
    }
    if official:
        variants["official"] = lambda round_index: official.learn(round_index, task)
    found = medians(variants, n_rounds)
    if task.index in SHOWN:
        n_steps = setting.n_steps(task)
        n_projected = runs[-1].memory["projected_steps"] - memory["projected_steps"]
        counted = operations(params, stored)
        print(described(task.index, n_steps, n_projected / n_steps, counted, found), flush=True)
    return runs[-1], found


def setting_of(data_root: Path, memory_size: int) -> Setting:
    study = load_study(STUDY, data_root)
    (configuration,) = [c for c in configurations(study) if c.method == "gem"]
    sequence = benchmarks.build(study.benchmark, data_root, 0)
    net = build_net(study.net, sequence.input_shape, sequence.heads)
    hyper = configuration.hyper.model_copy(update={"memory_size": memory_size})
    return Setting(net, sequence, hyper, configuration.training)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, required=True, help="where MNIST is")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memories", type=int, default=256, help="per task; published: 256")
    parser.add_argument("--tasks", type=int, default=20, help="fewer for a quick look")
    parser.add_argument("--official", type=Path, help="folder of the authors' code")
    options = parser.parse_args()
    torch.set_num_threads(1)
    setting = setting_of(options.data_root, options.memories)
    official = options.official and Official(options.official, setting, options.rounds)
    net, sequence = setting.net, setting.sequence
    method = methods.build("gem", net, setting.hyper)
    plain = replace(method, phases=(plain_phase(net),))

    params = initial_params(net, 0, sequence.tasks[0].train.labels.device)
    memory = method.begin(params)
    total: Seconds = defaultdict(float)
    worst, n_steps = 0.0, 0
    for task in sequence.tasks[: options.tasks]:
        if task.index == 0:  # no past, nothing to compare
            run, _ = swept(setting, plain, params, memory, task)
            for round_index in range(options.rounds if official else 0):
                official.learn(round_index, task)
        else:
            stored = stored_examples(setting, memory)
            worst = max(worst, difference(setting, params, stored, task.index))
            assert worst <= TOLERANCE, f"the gradients differ by {worst:.1e}"
            run, found = compared(setting, method, params, memory, task, options.rounds, official)
            n_steps += setting.n_steps(task)
            for name, seconds in found.items():
                total[name] += seconds["step"]
        learnt = LearntTask(task, sequence.scale, None, 0, generator(0, "absorb", task.index))
        params = run.params
        memory = method.absorb(params, run.memory, {}, learnt)
    print(
        f"tasks 2 to {options.tasks}: clsweep {total['clsweep']:.1f} s, loop "
        f"{total['loop']:.1f} s, x{total['loop'] / total['clsweep']:.2f}; largest difference of "
        f"the gradients {worst:.1e} of the row's largest entry"
    )
    if official:
        print(
            f"official code {total['official']:.1f} s, {n_steps / total['official']:.1f} steps/s; "
            f"clsweep {n_steps / total['clsweep']:.1f} steps/s, "
            f"x{total['official'] / total['clsweep']:.2f}"
        )


if __name__ == "__main__":
    main()
