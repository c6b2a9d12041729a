"""GSS: cosines by a loop over examples, and exchanges by the rule of the paper."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep import methods
from clsweep.data.rng import generator
from clsweep.data.tasks import TaskSequence
from clsweep.errors import StudyError
from clsweep.methods.base import Batch, LearntTask
from clsweep.methods.exemplar_hypers import GssHyper
from clsweep.methods.gss import exchanged
from clsweep.methods.parts.buffer import Buffer
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.study.study import load_study


def ruled(scores: list[float], own: list[float], meets: Tensor, wins: Tensor) -> dict[int, int]:
    """Who is in which slot: the rule, an example at a time."""
    held: dict[int, int] = {}
    for row, c in enumerate(own):
        place, left = 0, float(meets[row]) * sum(scores)
        while left >= scores[place]:
            left -= scores[place]
            place += 1
        if float(wins[row]) < scores[place] / (scores[place] + c):
            scores[place], held[place] = c, row
    return held


def test_exchanges_follow_the_rule() -> None:
    rng = generator(0, "scores")
    kept, own = torch.rand(5, generator=rng) * 2, torch.rand(12, generator=rng) * 2
    meets, wins = (torch.rand(12, generator=rng, dtype=torch.float64) for _ in range(2))
    stored = Buffer(
        torch.zeros(5, 1), torch.zeros(5).long(), torch.zeros(5).long(), 5, 5, {"score": kept}
    )
    raw, y = torch.arange(1.0, 13)[:, None], torch.arange(1, 13)
    batch = Batch(raw, y, raw, None, {"uniform": meets, "accept": wins})
    found = exchanged(stored, batch, 1, own)
    held = ruled(kept.double().tolist(), own.double().tolist(), meets, wins)
    assert 2 <= len(held) <= 5
    for slot in range(5):
        row = held.get(slot)
        assert int(found.labels[slot]) == (0 if row is None else row + 1)
        assert float(found.raw[slot]) == int(found.labels[slot])
        assert int(found.tasks[slot]) == (row is not None)
        assert float(found.noted["score"][slot]) == float(kept[slot] if row is None else own[row])
    assert (found.n_filled, found.n_seen) == (5, 17)


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_scores_are_cosines_of_single_gradients(
    scenario: str, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences[scenario]
    net = build_net(NetConfig(hidden=(6,)), sequence.input_shape, sequence.heads)
    full = {n: v.requires_grad_() for n, v in net.init(generator(2, "init")).items()}
    task = sequence.tasks[1].train
    raw, y = task.raw(torch.arange(6)), task.labels[torch.arange(6)]
    x, ones = sequence.scale(raw), torch.linspace(0.1, 0.9, 6, dtype=torch.float64)

    def gradient(inputs: Tensor, labels: Tensor, head: int) -> Tensor:
        loss = F.cross_entropy(net.apply(full, inputs, head), labels)
        found = torch.autograd.grad(loss, list(full.values()), allow_unused=True)
        parts = [
            torch.zeros_like(v) if g is None else g
            for v, g in zip(full.values(), found, strict=True)
        ]
        return torch.cat([part.flatten() for part in parts])

    learnt = LearntTask(sequence.tasks[0], sequence.scale, None, 9, generator(0, "absorb"))
    seen = set()
    for size in (8, 4000):
        method = methods.build("gss", net, GssHyper(memory_size=size, compared=4))
        memory = method.absorb(full, method.begin(full), {}, learnt)
        stored = memory["slots"]
        index = torch.tensor([0, 2, 5, 7])
        draw = {"compared": index, "uniform": ones, "accept": 1 - ones}
        batch = Batch(x, y, raw, sequence.scale, draw)
        with torch.no_grad():
            grads, after = method.phases[0].project({}, full, memory, batch, 1)
        assert grads == {}
        head = 0 if scenario == "task" else 1
        rows = [
            gradient(sequence.scale(stored.raw[k : k + 1]), stored.labels[k : k + 1], head)
            for k in index.tolist()
        ]

        def score(g: Tensor, rows: list[Tensor] = rows) -> float:
            return 1 + max(float(F.cosine_similarity(g, row, 0)) for row in rows)

        c = score(gradient(x, y, 1))
        if stored.n_filled < size:
            new = slice(stored.n_filled, stored.n_filled + 6)
            assert torch.equal(after["slots"].raw[new], raw)
            wanted = torch.full((6,), c)
            torch.testing.assert_close(after["slots"].noted["score"][new], wanted)
            seen.add("room")
        elif c >= 1:
            assert after is memory
            seen.add("alike")
        else:
            own = [score(gradient(x[i : i + 1], y[i : i + 1], 1)) for i in range(6)]
            held = ruled([1.0] * 8, own, ones, 1 - ones)
            for slot, row in held.items():
                assert torch.equal(after["slots"].raw[slot], raw[row])
            assert int((after["slots"].tasks == 1).sum()) == len(held)
            seen.add("differs")
    assert len(seen) == 2


def test_batch_norm_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(
        """
        name = "refused"
        benchmark = { name = "split", n_tasks = 2, scenario = "task" }
        net = { name = "conv", norm = "batch" }
        methods = [{ name = "gss" }]
        """
    )
    with pytest.raises(StudyError, match="'gss' takes no batch norms"):
        load_study(tmp_path / "s.toml")
