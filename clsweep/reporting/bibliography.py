"""The papers that a report can cite, as data: of methods, of statistics and rules, of software.

Page numbers stand where they were found; where they were not, they are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Paper:
    """An entry of a bibliography.

    Attributes:
        kind: of BibTeX: 'article', 'inproceedings' or 'misc'.
        authors: in full, each as 'Surname, Given names'.
        title: as it is printed; braces keep capitals.
        year: of the version that is cited.
        venue: the journal, or the proceedings; of 'misc' where it can be found.
        rest: further fields of BibTeX, such as volume and pages.
    """

    kind: str
    authors: tuple[str, ...]
    title: str
    year: int
    venue: str
    rest: dict[str, str] = field(default_factory=dict)

    @property
    def short(self) -> str:
        """Author and year as a sentence has them: 'Li and Hoiem, 2016'."""
        names = [author.partition(",")[0] for author in self.authors]
        if len(names) > 2:
            who = f"{names[0]} et al."
        else:
            who = " and ".join(names)
        return f"{who}, {self.year}"

    def bibtex(self, key: str) -> str:
        r"""The entry as BibTeX reads it, in UTF-8.

        Args:
            key: what `\cite` calls it.
        """
        place = {"article": "journal", "inproceedings": "booktitle", "misc": "howpublished"}
        fields = {
            "title": self.title,
            "author": " and ".join(self.authors),
            place[self.kind]: self.venue,
            **self.rest,
            "year": str(self.year),
        }
        width = max(map(len, fields))
        lines = (f"  {name:{width}} = {{{text}}}" for name, text in fields.items())
        return f"@{self.kind}{{{key},\n" + ",\n".join(lines) + "\n}\n"


_NEURIPS = "Advances in Neural Information Processing Systems"
_ICLR = "International Conference on Learning Representations"
_PMLR = "Proceedings of Machine Learning Research"
_PNAS = "Proceedings of the National Academy of Sciences"
_TPAMI = "{IEEE} Transactions on Pattern Analysis and Machine Intelligence"
_CVPR = "{IEEE} Conference on Computer Vision and Pattern Recognition"
_ECCV = "European Conference on Computer Vision"

PAPERS: dict[str, Paper] = {
    "aljundi2018mas": Paper(
        "inproceedings",
        (
            "Aljundi, Rahaf",
            "Babiloni, Francesca",
            "Elhoseiny, Mohamed",
            "Rohrbach, Marcus",
            "Tuytelaars, Tinne",
        ),
        "Memory Aware Synapses: Learning What (Not) to Forget",
        2018,
        _ECCV,
    ),
    "akiba2019optuna": Paper(
        "inproceedings",
        (
            "Akiba, Takuya",
            "Sano, Shotaro",
            "Yanase, Toshihiko",
            "Ohta, Takeru",
            "Koyama, Masanori",
        ),
        "{Optuna}: A Next-Generation Hyperparameter Optimization Framework",
        2019,
        "{ACM} {SIGKDD} International Conference on Knowledge Discovery and Data Mining",
        {"pages": "2623--2631"},
    ),
    "ash2020warmstarting": Paper(
        "inproceedings",
        ("Ash, Jordan T.", "Adams, Ryan P."),
        "On Warm-Starting Neural Network Training",
        2020,
        _NEURIPS,
        {"volume": "33"},
    ),
    "buzzega2020der": Paper(
        "inproceedings",
        (
            "Buzzega, Pietro",
            "Boschini, Matteo",
            "Porrello, Angelo",
            "Abati, Davide",
            "Calderara, Simone",
        ),
        "Dark Experience for General Continual Learning: A Strong, Simple Baseline",
        2020,
        _NEURIPS,
        {"volume": "33", "pages": "15920--15930"},
    ),
    "chaudhry2018rwalk": Paper(
        "inproceedings",
        (
            "Chaudhry, Arslan",
            "Dokania, Puneet K.",
            "Ajanthan, Thalaiyasingam",
            "Torr, Philip H. S.",
        ),
        "{Riemannian} Walk for Incremental Learning: Understanding Forgetting and Intransigence",
        2018,
        _ECCV,
        {"pages": "532--547"},
    ),
    "chaudhry2019agem": Paper(
        "inproceedings",
        (
            "Chaudhry, Arslan",
            "Ranzato, Marc'Aurelio",
            "Rohrbach, Marcus",
            "Elhoseiny, Mohamed",
        ),
        "Efficient Lifelong Learning with {A-GEM}",
        2019,
        _ICLR,
    ),
    "chaudhry2019tiny": Paper(
        "misc",
        (
            "Chaudhry, Arslan",
            "Rohrbach, Marcus",
            "Elhoseiny, Mohamed",
            "Ajanthan, Thalaiyasingam",
            "Dokania, Puneet K.",
            "Torr, Philip H. S.",
            "Ranzato, Marc'Aurelio",
        ),
        "On Tiny Episodic Memories in Continual Learning",
        2019,
        "arXiv:1902.10486",
    ),
    "dunn1961comparisons": Paper(
        "article",
        ("Dunn, Olive Jean",),
        "Multiple Comparisons Among Means",
        1961,
        "Journal of the American Statistical Association",
        {"volume": "56", "number": "293", "pages": "52--64"},
    ),
    "hayes2020slda": Paper(
        "inproceedings",
        ("Hayes, Tyler L.", "Kanan, Christopher"),
        "Lifelong Machine Learning with Deep Streaming Linear Discriminant Analysis",
        2020,
        f"{_CVPR} Workshops",
        {"pages": "220--221"},
    ),
    "huszar2018note": Paper(
        "article",
        ("Huszár, Ferenc",),
        "Note on the Quadratic Penalties in Elastic Weight Consolidation",
        2018,
        _PNAS,
        {"volume": "115", "number": "11", "pages": "E2496--E2497"},
    ),
    "kirkpatrick2017ewc": Paper(
        "article",
        (
            "Kirkpatrick, James",
            "Pascanu, Razvan",
            "Rabinowitz, Neil",
            "Veness, Joel",
            "Desjardins, Guillaume",
            "Rusu, Andrei A.",
            "Milan, Kieran",
            "Quan, John",
            "Ramalho, Tiago",
            "Grabska-Barwinska, Agnieszka",
            "Hassabis, Demis",
            "Clopath, Claudia",
            "Kumaran, Dharshan",
            "Hadsell, Raia",
        ),
        "Overcoming Catastrophic Forgetting in Neural Networks",
        2017,
        _PNAS,
        {"volume": "114", "number": "13", "pages": "3521--3526"},
    ),
    "mallya2018packnet": Paper(
        "inproceedings",
        ("Mallya, Arun", "Lazebnik, Svetlana"),
        "{PackNet}: Adding Multiple Tasks to a Single Network by Iterative Pruning",
        2018,
        _CVPR,
        {"pages": "7765--7773"},
    ),
    "saha2021gpm": Paper(
        "inproceedings",
        ("Saha, Gobinda", "Garg, Isha", "Roy, Kaushik"),
        "Gradient Projection Memory for Continual Learning",
        2021,
        _ICLR,
    ),
    "serra2018hat": Paper(
        "inproceedings",
        ("Serrà, Joan", "Surís, Dídac", "Miron, Marius", "Karatzoglou, Alexandros"),
        "Overcoming Catastrophic Forgetting with Hard Attention to the Task",
        2018,
        _PMLR,
        {"volume": "80", "pages": "4548--4557"},
    ),
    "dohare2024cbp": Paper(
        "article",
        ("Dohare, Shibhansh", "Hernandez-Garcia, J. Fernando", "Lan, Qingfeng", "others"),
        "Loss of Plasticity in Deep Continual Learning",
        2024,
        "Nature",
        {"volume": "632", "pages": "768--774"},
    ),
    "nguyen2018vcl": Paper(
        "inproceedings",
        ("Nguyen, Cuong V.", "Li, Yingzhen", "Bui, Thang D.", "Turner, Richard E."),
        "Variational Continual Learning",
        2018,
        _ICLR,
    ),
    "kumar2023l2init": Paper(
        "misc",
        ("Kumar, Saurabh", "Marklund, Henrik", "Van Roy, Benjamin"),
        "Maintaining Plasticity in Continual Learning via Regenerative Regularization",
        2023,
        "arXiv:2308.11958",
    ),
    "lee2017imm": Paper(
        "inproceedings",
        ("Lee, Sang-Woo", "Kim, Jin-Hwa", "Jun, Jaehyun", "Ha, Jung-Woo", "Zhang, Byoung-Tak"),
        "Overcoming Catastrophic Forgetting by Incremental Moment Matching",
        2017,
        _NEURIPS,
        {"volume": "30", "pages": "4652--4662"},
    ),
    "lee2020rescl": Paper(
        "inproceedings",
        ("Lee, Janghyeon", "Joo, Donggyu", "Hong, Hyeong Gwon", "Kim, Junmo"),
        "Residual Continual Learning",
        2020,
        "{AAAI} Conference on Artificial Intelligence",
        {"note": "arXiv:2002.06774"},
    ),
    "li2016lwf": Paper(
        "inproceedings",
        ("Li, Zhizhong", "Hoiem, Derek"),
        "Learning Without Forgetting",
        2016,
        _ECCV,
        {"pages": "614--629"},
    ),
    "li2018l2sp": Paper(
        "inproceedings",
        ("Li, Xuhong", "Grandvalet, Yves", "Davoine, Franck"),
        "Explicit Inductive Bias for Transfer Learning with Convolutional Networks",
        2018,
        "International Conference on Machine Learning",
        {"series": _PMLR, "volume": "80"},
    ),
    "liaw2018tune": Paper(
        "misc",
        (
            "Liaw, Richard",
            "Liang, Eric",
            "Nishihara, Robert",
            "Moritz, Philipp",
            "Gonzalez, Joseph E.",
            "Stoica, Ion",
        ),
        "{Tune}: A Research Platform for Distributed Model Selection and Training",
        2018,
        "arXiv:1807.05118",
    ),
    "lopezpaz2017gem": Paper(
        "inproceedings",
        ("Lopez-Paz, David", "Ranzato, Marc'Aurelio"),
        "Gradient Episodic Memory for Continual Learning",
        2017,
        _NEURIPS,
        {"volume": "30", "pages": "6467--6476"},
    ),
    "mcdonnell2023ranpac": Paper(
        "inproceedings",
        (
            "McDonnell, Mark D.",
            "Gong, Dong",
            "Parvaneh, Amin",
            "Abbasnejad, Ehsan",
            "van den Hengel, Anton",
        ),
        "{RanPAC}: Random Projections and Pre-Trained Models for Continual Learning",
        2023,
        _NEURIPS,
        {"volume": "36", "pages": "12022--12053"},
    ),
    "mensink2013ncm": Paper(
        "article",
        ("Mensink, Thomas", "Verbeek, Jakob", "Perronnin, Florent", "Csurka, Gabriela"),
        "Distance-Based Image Classification: Generalizing to New Classes at Near-Zero Cost",
        2013,
        _TPAMI,
        {"volume": "35", "number": "11", "pages": "2624--2637"},
    ),
    "vonoswald2020hypernetworks": Paper(
        "inproceedings",
        (
            "von Oswald, Johannes",
            "Henning, Christian",
            "Sacramento, João",
            "Grewe, Benjamin F.",
        ),
        "Continual Learning with Hypernetworks",
        2020,
        _ICLR,
    ),
    "paszke2019pytorch": Paper(
        "inproceedings",
        (
            "Paszke, Adam",
            "Gross, Sam",
            "Massa, Francisco",
            "Lerer, Adam",
            "Bradbury, James",
            "Chanan, Gregory",
            "Killeen, Trevor",
            "Lin, Zeming",
            "Gimelshein, Natalia",
            "Antiga, Luca",
            "Desmaison, Alban",
            "Kopf, Andreas",
            "Yang, Edward",
            "DeVito, Zachary",
            "Raison, Martin",
            "Tejani, Alykhan",
            "Chilamkurthy, Sasank",
            "Steiner, Benoit",
            "Fang, Lu",
            "Bai, Junjie",
            "Chintala, Soumith",
        ),
        "{PyTorch}: An Imperative Style, High-Performance Deep Learning Library",
        2019,
        _NEURIPS,
        {"volume": "32", "pages": "8024--8035"},
    ),
    "ratcliff1990recognition": Paper(
        "article",
        ("Ratcliff, Roger",),
        "Connectionist Models of Recognition Memory: Constraints Imposed by Learning and "
        "Forgetting Functions",
        1990,
        "Psychological Review",
        {"volume": "97", "number": "2", "pages": "285--308"},
    ),
    "rebuffi2017icarl": Paper(
        "inproceedings",
        (
            "Rebuffi, Sylvestre-Alvise",
            "Kolesnikov, Alexander",
            "Sperl, Georg",
            "Lampert, Christoph H.",
        ),
        "{iCaRL}: Incremental Classifier and Representation Learning",
        2017,
        _CVPR,
        {"pages": "2001--2010"},
    ),
    "schwarz2018progress": Paper(
        "inproceedings",
        (
            "Schwarz, Jonathan",
            "Luketina, Jelena",
            "Czarnecki, Wojciech M.",
            "Grabska-Barwinska, Agnieszka",
            "Teh, Yee Whye",
            "Pascanu, Razvan",
            "Hadsell, Raia",
        ),
        r"Progress \& Compress: A Scalable Framework for Continual Learning",
        2018,
        "International Conference on Machine Learning",
        {"series": _PMLR, "volume": "80"},
    ),
    "shin2017dgr": Paper(
        "inproceedings",
        ("Shin, Hanul", "Lee, Jung Kwon", "Kim, Jaehong", "Kim, Jiwon"),
        "Continual Learning with Deep Generative Replay",
        2017,
        _NEURIPS,
        {"volume": "30", "pages": "2990--2999"},
    ),
    "vandeven2018generative": Paper(
        "misc",
        ("van de Ven, Gido M.", "Tolias, Andreas S."),
        "Generative Replay with Feedback Connections as a General Strategy for Continual Learning",
        2018,
        "arXiv:1809.10635",
    ),
    "vandeven2022types": Paper(
        "article",
        ("van de Ven, Gido M.", "Tuytelaars, Tinne", "Tolias, Andreas S."),
        "Three Types of Incremental Learning",
        2022,
        "Nature Machine Intelligence",
        {"volume": "4", "pages": "1185--1197"},
    ),
    "zenke2017si": Paper(
        "inproceedings",
        ("Zenke, Friedemann", "Poole, Ben", "Ganguli, Surya"),
        "Continual Learning Through Synaptic Intelligence",
        2017,
        "International Conference on Machine Learning",
        {"series": _PMLR, "volume": "70", "pages": "3987--3995"},
    ),
}

# A method's key to the papers that it is of; one that is plain training has none.
OF_METHODS: dict[str, tuple[str, ...]] = {
    "ncm": ("mensink2013ncm", "rebuffi2017icarl"),
    "slda": ("hayes2020slda",),
    "ranpac": ("mcdonnell2023ranpac",),
    "l2": ("li2018l2sp",),
    "ewc": ("kirkpatrick2017ewc", "huszar2018note", "schwarz2018progress"),
    "mas": ("aljundi2018mas",),
    "si": ("zenke2017si",),
    "rwalk": ("chaudhry2018rwalk",),
    "lwf": ("li2016lwf",),
    "rescl": ("lee2020rescl",),
    "interpolate": ("lee2017imm",),
    "mode_imm": ("lee2017imm",),
    "l2init": ("kumar2023l2init",),
    "shrink_perturb": ("ash2020warmstarting",),
    "cbp": ("dohare2024cbp",),
    "vcl": ("nguyen2018vcl",),
    "packnet": ("mallya2018packnet",),
    "gpm": ("saha2021gpm",),
    "hat": ("serra2018hat",),
    "replay": ("ratcliff1990recognition", "chaudhry2019tiny"),
    "agem": ("chaudhry2019agem",),
    "der": ("buzzega2020der",),
    "derpp": ("buzzega2020der",),
    "dgr": ("shin2017dgr", "vandeven2018generative"),
    "gem": ("lopezpaz2017gem",),
    "hnet": ("vonoswald2020hypernetworks",),
    "hnet_tir": ("vonoswald2020hypernetworks",),
    "hnet_replay": ("vonoswald2020hypernetworks",),
}

SCENARIOS = ("vandeven2022types",)
REQUIRED_TARGET = ("lee2020rescl",)
SIMULTANEOUS_INTERVALS = ("dunn1961comparisons",)
# Packages to the papers that their authors ask for.
OF_PACKAGES = {
    "torch": ("paszke2019pytorch",),
    "ray": ("liaw2018tune",),
    "optuna": ("akiba2019optuna",),
}


def papers_of(method: str) -> tuple[str, ...]:
    """The keys of the papers that a method is of; empty for plain training and a user's own.

    Args:
        method: what records call it.
    """
    return OF_METHODS.get(method, ())


def bibtex_text(keys: Iterable[str]) -> str:
    """The entries of these papers, in order of their keys, each once.

    Args:
        keys: of `PAPERS`.
    """
    return "\n".join(PAPERS[key].bibtex(key) for key in sorted(set(keys)))
