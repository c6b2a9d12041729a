"""The methods: one module each, their numbers in `methods/hypers.py`, and the table below.

In: what a method computes. Out: how often it is trained (`training`), and with which numbers
(`study`).
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clsweep.errors import StudyError, closest_name
from clsweep.methods import hypers
from clsweep.methods.hyper_fields import Hyper

if TYPE_CHECKING:
    from clsweep.methods.base import Method
    from clsweep.nets.net import Net

ALL_SCENARIOS = ("task", "domain", "class")


@dataclass(frozen=True)
class MethodEntry:
    """What is known about a method without importing torch.

    Attributes:
        title: its name as people write it.
        hyper: the declaration of its numbers.
        citation: the paper, in one line.
        version: raised whenever its numbers change, so that stored trials are not mixed.
        uses: what it needs beyond the previous network and the current task's data.
        scenarios: the scenarios it is defined for.
        is_reference: whether it marks an end of the plot instead of tracing a curve.
        starts_from_source: whether its trials begin at the shared source model.
        starts_from_finetuned: whether they also need the plainly fine-tuned network of the second
            task, which is trained once per seed and shared.
        own_start: what of it cannot begin there and learns the first task within each trial;
            '' for nothing.
        takes_batch_norm: whether the network may have batch norms.
        trains: whether it makes gradient steps; one that does not has no use for `[training]`,
            nor for the study's network.
        generates_images: whether it generates what it replays, as bytes of pixels.
        statistics: name of what its `measure` computes, shared by every method that names it.
        statistics_read: the hypers that the statistics depend on.
    """

    title: str
    hyper: type[Hyper]
    citation: str
    version: int = 1
    uses: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = ALL_SCENARIOS
    is_reference: bool = False
    starts_from_source: bool = True
    starts_from_finetuned: bool = False
    own_start: str = ""
    takes_batch_norm: bool = True
    trains: bool = True
    generates_images: bool = False
    statistics: str = ""
    statistics_read: tuple[str, ...] = ()

    @property
    def start_note(self) -> str:
        """What must be known about where its trials begin, as half a sentence; '' for nothing."""
        if not self.trains:
            return "it classifies the inputs as they are, without the network or a gradient step"
        if not self.own_start:
            return ""
        return (
            f"its {self.own_start} does not start from the shared source model; it learns the "
            "first task within each trial"
        )


METHODS: dict[str, MethodEntry] = {
    "finetune": MethodEntry(
        "fine-tuning", hypers.NoHyper, "plain training on each task in turn", is_reference=True
    ),
    "frozen": MethodEntry(
        "frozen trunk",
        hypers.NoHyper,
        "feature extraction: only the head of the new task is trained",
        is_reference=True,
    ),
    "joint": MethodEntry(
        "joint",
        hypers.NoHyper,
        "one training on the union of all tasks",
        uses=("all data at once",),
        is_reference=True,
        starts_from_source=False,
    ),
    "ncm": MethodEntry(
        "nearest class mean",
        hypers.NcmHyper,
        "Mensink et al. 2013, IEEE TPAMI 35(11); Rebuffi et al. 2017, CVPR",
        uses=("class statistics",),
        is_reference=True,
        starts_from_source=False,
        trains=False,
    ),
    "slda": MethodEntry(
        "streaming LDA",
        hypers.SldaHyper,
        "Hayes and Kanan 2020, CVPR Workshops",
        uses=("class statistics",),
        starts_from_source=False,
        trains=False,
    ),
    "ranpac": MethodEntry(
        "RanPAC",
        hypers.RanpacHyper,
        "McDonnell et al. 2023, NeurIPS",
        uses=("class statistics",),
        starts_from_source=False,
        trains=False,
    ),
    "l2": MethodEntry(
        "L2 anchor", hypers.L2Hyper, "Li et al. 2018, ICML (L2-SP); the control without importance"
    ),
    "ewc": MethodEntry(
        "EWC",
        hypers.EwcHyper,
        "Kirkpatrick et al. 2017, PNAS 114(13); online form: Huszár 2018, Schwarz et al. 2018",
        uses=("source statistics",),
        statistics="fisher",
        statistics_read=("fisher", "fisher_examples", "fisher_batch"),
    ),
    "mas": MethodEntry(
        "MAS",
        hypers.MasHyper,
        "Aljundi et al. 2018, ECCV",
        uses=("source statistics",),
        statistics="mas_omega",
        statistics_read=("omega_examples",),
    ),
    "si": MethodEntry(
        "SI", hypers.SiHyper, "Zenke, Poole and Ganguli 2017, ICML", uses=("source trajectory",)
    ),
    "lwf": MethodEntry("LwF", hypers.LwfHyper, "Li and Hoiem 2016, ECCV"),
    "rescl": MethodEntry(
        "ResCL",
        hypers.ResclHyper,
        "Lee, Joo, Hong and Kim 2020, AAAI (arXiv 2002.06774)",
        starts_from_finetuned=True,
    ),
    "interpolate": MethodEntry(
        "weight interpolation",
        hypers.InterpolateHyper,
        "Lee et al. 2017, NeurIPS (incremental moment matching; the mean at β = ½)",
        starts_from_finetuned=True,
    ),
    "replay": MethodEntry(
        "experience replay",
        hypers.ReplayHyper,
        "Ratcliff 1990; Chaudhry et al. 2019 (tiny episodic memories)",
        uses=("source examples",),
    ),
    "agem": MethodEntry(
        "A-GEM", hypers.AgemHyper, "Chaudhry et al. 2019, ICLR", uses=("source examples",)
    ),
    "dgr": MethodEntry(
        "generative replay",
        hypers.DgrHyper,
        "Shin et al. 2017, NeurIPS; van de Ven and Tolias 2018, arXiv 1809.10635",
        uses=("a generator with a start of its own",),
        own_start="generator",
        generates_images=True,
    ),
    "gem": MethodEntry(
        "GEM", hypers.GemHyper, "Lopez-Paz and Ranzato 2017, NeurIPS", uses=("source examples",)
    ),
    "hnet": MethodEntry(
        "hypernetwork",
        hypers.HnetHyper,
        "von Oswald, Henning, Sacramento and Grewe 2020, ICLR",
        version=2,
        uses=("weights with a start of their own",),
        starts_from_source=False,
        own_start="hypernetwork",
        takes_batch_norm=False,
    ),
    "hnet_tir": MethodEntry(
        "HNET+TIR",
        hypers.HnetTirHyper,
        "von Oswald, Henning, Sacramento and Grewe 2020, ICLR",
        version=2,
        uses=("weights and generator with a start of their own",),
        scenarios=("domain", "class"),
        starts_from_source=False,
        own_start="hypernetwork with its generator and task classifier",
        generates_images=True,
        takes_batch_norm=False,
    ),
    "hnet_replay": MethodEntry(
        "HNET+R",
        hypers.HnetReplayHyper,
        "von Oswald, Henning, Sacramento and Grewe 2020, ICLR",
        version=2,
        uses=("a generator with a start of its own",),
        own_start="generator",
        generates_images=True,
    ),
}


def entry_of(name: str) -> MethodEntry:
    """The table's row for `name`.

    Raises:
        StudyError: no method has that name.
    """
    if name not in METHODS:
        raise StudyError(
            f"unknown method '{name}'",
            expected=closest_name(name, METHODS),
            next_step="`clsweep methods` lists them",
        )
    return METHODS[name]


def build(name: str, net: Net, hyper: Hyper) -> Method:
    """The method's hooks for a network, with its numbers in them; imports torch.

    Args:
        name: a key of `METHODS`; its module has the same name.
        net: the study's network.
        hyper: the method's numbers.

    Raises:
        MethodError: the method does not fit the network.
    """
    entry_of(name)
    method: Method = importlib.import_module(f"{__name__}.{name}").build(net, hyper)
    return method


def method_doc(name: str) -> str:
    """The docstring of the method's module, read from its source without importing torch."""
    entry_of(name)
    source = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(source)) or ""
