"""The methods: one module each, their numbers in `methods/hypers.py`, and the table below.

In: what a method computes. Out: how often it is trained (`training`), and with which numbers
(`study`).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from clsweep.methods import (
    exemplar_hypers,
    hypernetwork_hypers,
    hypers,
    isolation_hypers,
    regulariser_hypers,
)
from clsweep.methods.entry import ALL_SCENARIOS, MethodEntry
from clsweep.methods.hyper_fields import Hyper

if TYPE_CHECKING:
    from clsweep.methods.base import Method
    from clsweep.nets.net import Net

__all__ = [
    "ALL_SCENARIOS",
    "METHODS",
    "MethodEntry",
    "build",
    "known_entry",
    "register",
]

# Scenarios of a regression: there are no classes to add.
_OF_NUMBERS = ("task", "domain")

METHODS: dict[str, MethodEntry] = {
    "finetune": MethodEntry(
        "fine-tuning",
        hypers.NoHyper,
        "plain training on each task in turn",
        is_reference=True,
        lanes=(),
        family="reference",
        regression=_OF_NUMBERS,
    ),
    "frozen": MethodEntry(
        "frozen trunk",
        hypers.NoHyper,
        "feature extraction: only the head of the new task is trained",
        is_reference=True,
        lanes=(),
        family="reference",
        regression=_OF_NUMBERS,
    ),
    "scratch": MethodEntry(
        "from scratch",
        hypers.NoHyper,
        "every task on a network of its own",
        uses=("a network for every task",),
        scenarios=("task",),
        scenario_note="the task of a test example says which network classifies it",
        is_reference=True,
        family="reference",
        lanes=(),
    ),
    "joint": MethodEntry(
        "joint",
        hypers.NoHyper,
        "one training on the union of all tasks",
        uses=("all data at once",),
        is_reference=True,
        starts_from_source=False,
        family="reference",
        regression=_OF_NUMBERS,
        lanes=(),
    ),
    "ncm": MethodEntry(
        "nearest class mean",
        hypers.NcmHyper,
        "Mensink et al. 2013, IEEE TPAMI 35(11); Rebuffi et al. 2017, CVPR",
        uses=("class statistics",),
        is_reference=True,
        starts_from_source=False,
        trains=False,
        family="statistics",
        alone="it makes no gradient step",
    ),
    "slda": MethodEntry(
        "streaming LDA",
        hypers.SldaHyper,
        "Hayes and Kanan 2020, CVPR Workshops",
        uses=("class statistics",),
        starts_from_source=False,
        trains=False,
        family="statistics",
        alone="it makes no gradient step",
    ),
    "ranpac": MethodEntry(
        "RanPAC",
        hypers.RanpacHyper,
        "McDonnell et al. 2023, NeurIPS",
        uses=("class statistics",),
        starts_from_source=False,
        trains=False,
        family="statistics",
        alone="it makes no gradient step",
    ),
    "l2": MethodEntry(
        "L2 anchor",
        regulariser_hypers.L2Hyper,
        "Li et al. 2018, ICML (L2-SP); the control without importance",
        follows_path=True,
        lanes=("lam",),
        family="regularisation",
        regression=_OF_NUMBERS,
    ),
    "ewc": MethodEntry(
        "EWC",
        regulariser_hypers.EwcHyper,
        "Kirkpatrick et al. 2017, PNAS 114(13); online form: Huszár 2018, Schwarz et al. 2018",
        uses=("source statistics",),
        statistics="fisher",
        statistics_read=("fisher", "fisher_examples", "fisher_batch"),
        follows_path=True,
        lanes=("lam", "anchor", "gamma", "normalise"),
        family="regularisation",
        regression=_OF_NUMBERS,
    ),
    "mas": MethodEntry(
        "MAS",
        regulariser_hypers.MasHyper,
        "Aljundi et al. 2018, ECCV",
        uses=("source statistics",),
        statistics="mas_omega",
        statistics_read=("omega", "omega_examples", "omega_batch"),
        follows_path=True,
        lanes=("lam", "accumulation"),
        family="regularisation",
        regression=_OF_NUMBERS,
    ),
    "si": MethodEntry(
        "SI",
        regulariser_hypers.SiHyper,
        "Zenke, Poole and Ganguli 2017, ICML",
        uses=("source trajectory",),
        follows_path=True,
        lanes=("c", "xi"),
        family="regularisation",
        regression=_OF_NUMBERS,
    ),
    "rwalk": MethodEntry(
        "RWalk",
        regulariser_hypers.RwalkHyper,
        "Chaudhry et al. 2018, ECCV (Riemannian walk)",
        uses=("a trajectory with a start of its own",),
        starts_from_source=False,
        own_start="score along the path of training",
        family="regularisation",
        alone="its penalty is added where a step keeps its score",
    ),
    "vcl": MethodEntry(
        "VCL",
        regulariser_hypers.VclHyper,
        "Nguyen, Li, Bui and Turner 2018, ICLR",
        takes_batch_norm=False,
        family="regularisation",
        lanes=("beta",),
    ),
    "lwf": MethodEntry(
        "LwF",
        hypers.LwfHyper,
        "Li and Hoiem 2016, ECCV",
        lanes=("lam", "temperature"),
        family="distillation",
        regression=_OF_NUMBERS,
    ),
    "rescl": MethodEntry(
        "ResCL",
        hypers.ResclHyper,
        "Lee, Joo, Hong and Kim 2020, AAAI (arXiv 2002.06774)",
        starts_from_finetuned=True,
        family="combination",
        regression=_OF_NUMBERS,
        lanes=("lam", "temperature"),
    ),
    "interpolate": MethodEntry(
        "weight interpolation",
        hypers.InterpolateHyper,
        "Lee et al. 2017, NeurIPS (incremental moment matching; the mean at β = ½)",
        starts_from_finetuned=True,
        family="combination",
        lanes=("beta",),
    ),
    "mode_imm": MethodEntry(
        "Mode-IMM",
        hypers.ModeImmHyper,
        "Lee et al. 2017, NeurIPS (incremental moment matching, weighted by the Fisher)",
        uses=("source statistics",),
        starts_from_finetuned=True,
        takes_batch_norm=False,
        statistics="fisher",
        statistics_read=("fisher", "fisher_examples", "fisher_batch"),
        family="combination",
        lanes=("beta",),
    ),
    "l2init": MethodEntry(
        "L2 Init",
        regulariser_hypers.L2initHyper,
        "Kumar, Marklund and Van Roy 2023, arXiv 2308.11958 (regenerative regularization)",
        lanes=("lam",),
        family="plasticity",
    ),
    "shrink_perturb": MethodEntry(
        "shrink and perturb",
        regulariser_hypers.ShrinkPerturbHyper,
        "Ash and Adams 2020, NeurIPS",
        family="plasticity",
        lanes=("shrink", "noise"),
    ),
    "cbp": MethodEntry(
        "CBP",
        regulariser_hypers.CbpHyper,
        "Dohare et al. 2024, Nature 632",
        takes_batch_norm=False,
        family="plasticity",
        lanes=(),
    ),
    "packnet": MethodEntry(
        "PackNet",
        isolation_hypers.PacknetHyper,
        "Mallya and Lazebnik 2018, CVPR",
        scenarios=("task",),
        scenario_note="the task of a test example says which weights classify it",
        takes_batch_norm=False,
        family="isolation",
        lanes=("prune",),
    ),
    "gpm": MethodEntry(
        "GPM",
        isolation_hypers.GpmHyper,
        "Saha, Garg and Roy 2021, ICLR",
        uses=("source statistics",),
        scenarios=("task", "domain"),
        scenario_note="it keeps outputs on earlier inputs as they are, which teaches nobody to "
        "tell new classes from old ones",
        takes_batch_norm=False,
        statistics="layer_inputs",
        statistics_read=("examples",),
        family="isolation",
        lanes=("threshold", "growth"),
    ),
    "hat": MethodEntry(
        "HAT",
        isolation_hypers.HatHyper,
        "Serrà, Suris, Miron and Karatzoglou 2018, ICML",
        uses=("gates with a start of their own",),
        scenarios=("task",),
        scenario_note="the task of a test example says which units classify it",
        starts_from_source=False,
        own_start="gates",
        takes_batch_norm=False,
        family="isolation",
        lanes=("c",),
    ),
    "replay": MethodEntry(
        "experience replay",
        hypers.ReplayHyper,
        "Ratcliff 1990; Chaudhry et al. 2019 (tiny episodic memories)",
        uses=("source examples",),
        lanes=("weight",),
        family="stored examples",
        regression=_OF_NUMBERS,
    ),
    "er_ace": MethodEntry(
        "ER-ACE",
        exemplar_hypers.ErAceHyper,
        "Caccia et al. 2022, ICLR",
        uses=("source examples",),
        family="stored examples",
        lanes=("weight",),
    ),
    "fdr": MethodEntry(
        "FDR",
        exemplar_hypers.FdrHyper,
        "Benjamin, Rolnick and Kording 2019, ICLR; Buzzega et al. 2020, NeurIPS",
        uses=("source examples",),
        family="stored examples",
        alone="its distance has a kink where stored and new outputs agree, and rounding decides "
        "there",
    ),
    "gdumb": MethodEntry(
        "GDumb",
        exemplar_hypers.GdumbHyper,
        "Prabhu, Torr and Dokania 2020, ECCV",
        uses=("source examples", "a start of its own"),
        family="stored examples",
        starts_from_source=False,
        own_start="network from scratch on the memory alone",
        alone="each trial trains on stored examples that it has chosen itself",
    ),
    "icarl": MethodEntry(
        "iCaRL",
        exemplar_hypers.IcarlHyper,
        "Rebuffi et al. 2017, CVPR",
        uses=("source examples", "a start of its own"),
        family="stored examples",
        scenarios=("class", "task"),
        scenario_note="with one head for all domains no class is ever new",
        starts_from_source=False,
        own_start="network with a sigmoid per class",
        alone="each trial trains on stored examples that it has chosen itself",
    ),
    "bic": MethodEntry(
        "BiC",
        exemplar_hypers.BicHyper,
        "Wu et al. 2019, CVPR",
        uses=("source examples",),
        family="stored examples",
        scenarios=("class",),
        scenario_note="it corrects how one head prefers the classes that were added to it",
        alone="each trial trains on stored examples that it has chosen itself",
    ),
    "mir": MethodEntry(
        "MIR",
        exemplar_hypers.MirHyper,
        "Aljundi et al. 2019, NeurIPS",
        uses=("source examples",),
        family="stored examples",
        alone="it differentiates a second loss within a step",
    ),
    "mer": MethodEntry(
        "MER",
        exemplar_hypers.MerHyper,
        "Riemer et al. 2019, ICLR (meta-experience replay)",
        uses=("source examples",),
        family="stored examples",
        takes_batch_norm=False,
        alone="its step is a row of steps, each from where the one before has led",
    ),
    "hal": MethodEntry(
        "HAL",
        exemplar_hypers.HalHyper,
        "Chaudhry et al. 2021, AAAI (hindsight anchor learning)",
        uses=("source examples",),
        family="stored examples",
        alone="it differentiates a second loss within a step",
    ),
    "gss": MethodEntry(
        "GSS",
        exemplar_hypers.GssHyper,
        "Aljundi, Lin, Goujaud and Bengio 2019, NeurIPS",
        uses=("source examples",),
        family="stored examples",
        takes_batch_norm=False,
        alone="it compares gradients of single examples within a step",
    ),
    "der": MethodEntry(
        "DER",
        exemplar_hypers.DerHyper,
        "Buzzega et al. 2020, NeurIPS",
        uses=("source examples",),
        family="stored examples",
        lanes=("weight",),
    ),
    "derpp": MethodEntry(
        "DER++",
        exemplar_hypers.DerppHyper,
        "Buzzega et al. 2020, NeurIPS",
        uses=("source examples",),
        family="stored examples",
        lanes=("weight", "label_weight"),
    ),
    "agem": MethodEntry(
        "A-GEM",
        hypers.AgemHyper,
        "Chaudhry et al. 2019, ICLR",
        uses=("source examples",),
        family="stored examples",
        regression=_OF_NUMBERS,
        alone="it differentiates a second loss within a step",
    ),
    "dgr": MethodEntry(
        "generative replay",
        hypers.DgrHyper,
        "Shin et al. 2017, NeurIPS; van de Ven and Tolias 2018, arXiv 1809.10635",
        uses=("a generator with a start of its own",),
        own_start="generator",
        generates_images=True,
        family="generation",
        lanes=("weight",),
    ),
    "gem": MethodEntry(
        "GEM",
        hypers.GemHyper,
        "Lopez-Paz and Ranzato 2017, NeurIPS",
        uses=("source examples",),
        family="stored examples",
        regression=_OF_NUMBERS,
        alone="each step solves a programme of its own",
    ),
    "hnet": MethodEntry(
        "hypernetwork",
        hypernetwork_hypers.HnetHyper,
        "von Oswald, Henning, Sacramento and Grewe 2020, ICLR",
        version=2,
        uses=("weights with a start of their own",),
        starts_from_source=False,
        own_start="hypernetwork",
        family="hypernetworks",
        regression=("task",),
        lanes=("beta",),
        lanes_where=(("look_ahead", (False,)),),
    ),
    "hnet_tir": MethodEntry(
        "HNET+TIR",
        hypernetwork_hypers.HnetTirHyper,
        "von Oswald, Henning, Sacramento and Grewe 2020, ICLR",
        version=2,
        uses=("weights and generator with a start of their own",),
        scenarios=("domain", "class"),
        starts_from_source=False,
        own_start="hypernetwork with its generator and task classifier",
        generates_images=True,
        takes_batch_norm=False,
        family="hypernetworks",
        lanes=("beta",),
        lanes_where=(("look_ahead", (False,)),),
    ),
    "hnet_replay": MethodEntry(
        "HNET+R",
        hypernetwork_hypers.HnetReplayHyper,
        "von Oswald, Henning, Sacramento and Grewe 2020, ICLR",
        version=2,
        uses=("a generator with a start of its own",),
        own_start="generator",
        generates_images=True,
        family="generation",
        lanes=("weight",),
        lanes_where=(("look_ahead", (False,)),),
    ),
}


# Methods of users' own that this process has met: in a study file, or in a results folder.
_OWN: dict[str, MethodEntry] = {}


def register(key: str, entry: MethodEntry) -> None:
    """Have `known_entry` know a method of a user's own; the last declaration of a key counts.

    Args:
        key: what records call the method: its import path, or the name of its entry point.
        entry: what is known about it.
    """
    _OWN[key] = entry


def known_entry(key: str) -> MethodEntry | None:
    """What is known about a method, without importing anything; None for nothing.

    Args:
        key: what records call the method.
    """
    return METHODS.get(key) or _OWN.get(key)


def build(name: str, net: Net, hyper: Hyper) -> Method:
    """The hooks of one of our methods for a network, with its numbers in them; imports torch.

    A user's own is built by `own_build.built`.

    Args:
        name: of `METHODS`.
        net: the study's network.
        hyper: the method's numbers.

    Raises:
        MethodError: the method does not fit the network.
    """
    method: Method = importlib.import_module(f"{__name__}.{name}").build(net, hyper)
    return method
