"""A study of Avalanche's strategies as Ray Tune trials, as a user of both would write it.

    DIR/bin/python benchmarks/peers/avalanche_study.py STUDY.json OUT --data-root DATA

Runs in the environment that `environment.py` made, and imports nothing of clsweep. STUDY.json has
`methods` (name -> values of its knob), `seeds` and `examples` per task. Each trial learns two
tasks of five digits of MNIST with Avalanche's SimpleMLP, 784-400-400-10, one epoch, batches of 32,
and is evaluated on both tasks after each. A run whose OUT is there goes on by `Tuner.restore`.

As it comes, Tune starts a process per trial and writes its logs, and Avalanche prints its
progress. With --lean Tune reuses its processes and writes no logs, and Avalanche prints nothing.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import time
from pathlib import Path
from typing import Any

NAME = "study"
PACKAGES = ("avalanche-lib", "ray", "torch", "torchvision", "numpy")


def strategy_of(method: str, value: float, lean: bool) -> tuple[Any, Any]:
    """A strategy and its network."""
    import torch
    from avalanche.evaluation.metrics import accuracy_metrics
    from avalanche.models import SimpleMLP
    from avalanche.training import supervised
    from avalanche.training.plugins import EvaluationPlugin

    made, knobs = {
        "ewc": (supervised.EWC, {"ewc_lambda": value}),
        "si": (supervised.SynapticIntelligence, {"si_lambda": value}),
        "mas": (supervised.MAS, {"lambda_reg": value}),
        "lwf": (supervised.LwF, {"alpha": value, "temperature": 2.0}),
        "replay": (supervised.Replay, {"mem_size": int(value)}),
        "agem": (supervised.AGEM, {"patterns_per_exp": int(value), "sample_size": 32}),
        "gem": (supervised.GEM, {"patterns_per_exp": 256, "memory_strength": value}),
    }[method]
    net = SimpleMLP(num_classes=10, hidden_size=400, hidden_layers=2, drop_rate=0.0)
    if lean:
        knobs["evaluator"] = EvaluationPlugin(accuracy_metrics(experience=True), loggers=[])
    strategy = made(
        model=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.05),
        criterion=torch.nn.CrossEntropyLoss(),
        train_mb_size=32,
        train_epochs=1,
        eval_mb_size=500,
        **knobs,
    )
    return strategy, net


def benchmark_of(data_root: str, examples: int) -> Any:
    """Two tasks of five digits, `examples` training images each, all test images."""
    import torch
    from avalanche.benchmarks import nc_benchmark
    from torchvision.datasets import MNIST
    from torchvision.transforms import ToTensor

    train, test = MNIST(data_root, train=True), MNIST(data_root, train=False)
    first = torch.tensor([t < 5 for t in train.targets.tolist()])
    rows = torch.cat([w.nonzero().flatten()[:examples] for w in (first, ~first)])
    train.data, train.targets = train.data[rows], train.targets[rows]
    return nc_benchmark(
        train,
        test,
        n_experiences=2,
        task_labels=False,
        fixed_class_order=list(range(10)),
        train_transform=ToTensor(),
        eval_transform=ToTensor(),
    )


def trial(config: dict[str, Any]) -> dict[str, float]:
    """One trial: what its last evaluation found, and when it began and ended."""
    began = time.time()
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(config["seed"])
    benchmark = benchmark_of(config["data_root"], config["examples"])
    method, value = config["cell"]
    strategy, _ = strategy_of(method, value, config["lean"])
    found: dict[str, float] = {}
    for experience in benchmark.train_stream:
        strategy.train(experience)
        found = strategy.eval(benchmark.test_stream)
    accuracies = [v for k, v in found.items() if k.startswith("Top1_Acc_Exp")]
    mean = sum(accuracies) / len(accuracies)
    return {"accuracy": mean, "began": began, "ended": time.time()}


def run(study: dict[str, Any], out: Path, data_root: str, lean: bool, workers: int) -> None:
    """Run the study, or what is missing of it, and print a line of JSON."""
    if lean:
        os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    import ray
    from ray import tune

    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=not lean)
    placed = tune.with_resources(trial, {"cpu": 1})
    if (out / NAME).exists():
        tuner = tune.Tuner.restore(str(out / NAME), placed, resume_unfinished=True)
    else:
        cells = [(m, value) for m, values in study["methods"].items() for value in values]
        space = {
            "cell": tune.grid_search(cells),
            "seed": tune.grid_search(study["seeds"]),
            "examples": study["examples"],
            "data_root": data_root,
            "lean": lean,
        }
        tuner = tune.Tuner(
            placed,
            param_space=space,
            tune_config=tune.TuneConfig(reuse_actors=lean),
            run_config=tune.RunConfig(
                name=NAME, storage_path=str(out), verbose=0 if lean else None
            ),
        )
    results = tuner.fit()
    done = [result.metrics for result in results if result.metrics and not result.error]
    told = {
        "n_trials": len(done),
        "n_errors": results.num_errors,
        "began": min(m["began"] for m in done),
        "ended": max(m["ended"] for m in done),
        "accuracy": sum(m["accuracy"] for m in done) / len(done),
    }
    print(json.dumps(told), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path, nargs="?")
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--data-root", help="folder that holds MNIST/raw")
    parser.add_argument("--lean", action="store_true", help="reuse processes, write no logs")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--versions", action="store_true", help="print versions and end")
    options = parser.parse_args()
    if options.versions:
        print(json.dumps({name: importlib.metadata.version(name) for name in PACKAGES}))
        return
    if not (options.study and options.out and options.data_root):
        parser.error("STUDY.json, OUT and --data-root are needed")
    study = json.loads(options.study.read_text(encoding="utf-8"))
    out = options.out.resolve()
    run(study, out, str(Path(options.data_root).resolve()), options.lean, options.workers)


if __name__ == "__main__":
    main()
