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
        authors: in full, as BibTeX has them: 'Surname, Given names and Surname, Given names'.
        title: as it is printed; braces keep capitals.
        year: of the version that is cited.
        venue: the journal, or the proceedings; of 'misc' where it can be found.
        rest: further fields of BibTeX, such as volume and pages.
    """

    kind: str
    authors: str
    title: str
    year: int
    venue: str
    rest: dict[str, str] = field(default_factory=dict)

    @property
    def short(self) -> str:
        """Author and year as a sentence has them: 'Li and Hoiem, 2016'."""
        names = [author.partition(",")[0] for author in self.authors.split(" and ")]
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
            "author": self.authors,
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
        "Aljundi, Rahaf and Babiloni, Francesca and Elhoseiny, Mohamed and Rohrbach, Marcus "
        "and Tuytelaars, Tinne",
        "Memory Aware Synapses: Learning What (Not) to Forget",
        2018,
        _ECCV,
    ),
    "aljundi2019gss": Paper(
        "inproceedings",
        "Aljundi, Rahaf and Lin, Min and Goujaud, Baptiste and Bengio, Yoshua",
        "Gradient Based Sample Selection for Online Continual Learning",
        2019,
        _NEURIPS,
        {"volume": "32"},
    ),
    "aljundi2019mir": Paper(
        "inproceedings",
        "Aljundi, Rahaf and Belilovsky, Eugene and Tuytelaars, Tinne and Charlin, Laurent "
        "and Caccia, Massimo and Lin, Min and Page-Caccia, Lucas",
        "Online Continual Learning with Maximal Interfered Retrieval",
        2019,
        _NEURIPS,
        {"volume": "32"},
    ),
    "akiba2019optuna": Paper(
        "inproceedings",
        "Akiba, Takuya and Sano, Shotaro and Yanase, Toshihiko and Ohta, Takeru and Koyama, "
        "Masanori",
        "{Optuna}: A Next-Generation Hyperparameter Optimization Framework",
        2019,
        "{ACM} {SIGKDD} International Conference on Knowledge Discovery and Data Mining",
        {"pages": "2623--2631"},
    ),
    "ash2020warmstarting": Paper(
        "inproceedings",
        "Ash, Jordan T. and Adams, Ryan P.",
        "On Warm-Starting Neural Network Training",
        2020,
        _NEURIPS,
        {"volume": "33"},
    ),
    "benjamin2019fdr": Paper(
        "inproceedings",
        "Benjamin, Ari S. and Rolnick, David and Kording, Konrad P.",
        "Measuring and Regularizing Networks in Function Space",
        2019,
        _ICLR,
    ),
    "buzzega2020der": Paper(
        "inproceedings",
        "Buzzega, Pietro and Boschini, Matteo and Porrello, Angelo and Abati, Davide and "
        "Calderara, Simone",
        "Dark Experience for General Continual Learning: A Strong, Simple Baseline",
        2020,
        _NEURIPS,
        {"volume": "33", "pages": "15920--15930"},
    ),
    "caccia2022erace": Paper(
        "inproceedings",
        "Caccia, Lucas and Aljundi, Rahaf and Asadi, Nader and Tuytelaars, Tinne and "
        "Pineau, Joelle and Belilovsky, Eugene",
        "New Insights on Reducing Abrupt Representation Change in Online Continual Learning",
        2022,
        _ICLR,
    ),
    "chaudhry2018rwalk": Paper(
        "inproceedings",
        "Chaudhry, Arslan and Dokania, Puneet K. and Ajanthan, Thalaiyasingam and Torr, "
        "Philip H. S.",
        "{Riemannian} Walk for Incremental Learning: Understanding Forgetting and Intransigence",
        2018,
        _ECCV,
        {"pages": "532--547"},
    ),
    "chaudhry2019agem": Paper(
        "inproceedings",
        "Chaudhry, Arslan and Ranzato, Marc'Aurelio and Rohrbach, Marcus and Elhoseiny, Mohamed",
        "Efficient Lifelong Learning with {A-GEM}",
        2019,
        _ICLR,
    ),
    "chaudhry2019tiny": Paper(
        "misc",
        "Chaudhry, Arslan and Rohrbach, Marcus and Elhoseiny, Mohamed and Ajanthan, "
        "Thalaiyasingam and Dokania, Puneet K. and Torr, Philip H. S. and Ranzato, "
        "Marc'Aurelio",
        "On Tiny Episodic Memories in Continual Learning",
        2019,
        "arXiv:1902.10486",
    ),
    "chaudhry2021hal": Paper(
        "inproceedings",
        "Chaudhry, Arslan and Gordo, Albert and Dokania, Puneet K. and Torr, Philip H. S. and "
        "Lopez-Paz, David",
        "Using Hindsight to Anchor Past Knowledge in Continual Learning",
        2021,
        "Proceedings of the {AAAI} Conference on Artificial Intelligence",
    ),
    "dunn1961comparisons": Paper(
        "article",
        "Dunn, Olive Jean",
        "Multiple Comparisons Among Means",
        1961,
        "Journal of the American Statistical Association",
        {"volume": "56", "number": "293", "pages": "52--64"},
    ),
    "hayes2020slda": Paper(
        "inproceedings",
        "Hayes, Tyler L. and Kanan, Christopher",
        "Lifelong Machine Learning with Deep Streaming Linear Discriminant Analysis",
        2020,
        f"{_CVPR} Workshops",
        {"pages": "220--221"},
    ),
    "huszar2018note": Paper(
        "article",
        "Huszár, Ferenc",
        "Note on the Quadratic Penalties in Elastic Weight Consolidation",
        2018,
        _PNAS,
        {"volume": "115", "number": "11", "pages": "E2496--E2497"},
    ),
    "kirkpatrick2017ewc": Paper(
        "article",
        "Kirkpatrick, James and Pascanu, Razvan and Rabinowitz, Neil and Veness, Joel and "
        "Desjardins, Guillaume and Rusu, Andrei A. and Milan, Kieran and Quan, John and "
        "Ramalho, Tiago and Grabska-Barwinska, Agnieszka and Hassabis, Demis and Clopath, "
        "Claudia and Kumaran, Dharshan and Hadsell, Raia",
        "Overcoming Catastrophic Forgetting in Neural Networks",
        2017,
        _PNAS,
        {"volume": "114", "number": "13", "pages": "3521--3526"},
    ),
    "mallya2018packnet": Paper(
        "inproceedings",
        "Mallya, Arun and Lazebnik, Svetlana",
        "{PackNet}: Adding Multiple Tasks to a Single Network by Iterative Pruning",
        2018,
        _CVPR,
        {"pages": "7765--7773"},
    ),
    "saha2021gpm": Paper(
        "inproceedings",
        "Saha, Gobinda and Garg, Isha and Roy, Kaushik",
        "Gradient Projection Memory for Continual Learning",
        2021,
        _ICLR,
    ),
    "serra2018hat": Paper(
        "inproceedings",
        "Serrà, Joan and Surís, Dídac and Miron, Marius and Karatzoglou, Alexandros",
        "Overcoming Catastrophic Forgetting with Hard Attention to the Task",
        2018,
        _PMLR,
        {"volume": "80", "pages": "4548--4557"},
    ),
    "dohare2024cbp": Paper(
        "article",
        "Dohare, Shibhansh and Hernandez-Garcia, J. Fernando and Lan, Qingfeng and others",
        "Loss of Plasticity in Deep Continual Learning",
        2024,
        "Nature",
        {"volume": "632", "pages": "768--774"},
    ),
    "kumar2023l2init": Paper(
        "misc",
        "Kumar, Saurabh and Marklund, Henrik and Van Roy, Benjamin",
        "Maintaining Plasticity in Continual Learning via Regenerative Regularization",
        2023,
        "arXiv:2308.11958",
    ),
    "lee2017imm": Paper(
        "inproceedings",
        "Lee, Sang-Woo and Kim, Jin-Hwa and Jun, Jaehyun and Ha, Jung-Woo and Zhang, Byoung-Tak",
        "Overcoming Catastrophic Forgetting by Incremental Moment Matching",
        2017,
        _NEURIPS,
        {"volume": "30", "pages": "4652--4662"},
    ),
    "lee2020rescl": Paper(
        "inproceedings",
        "Lee, Janghyeon and Joo, Donggyu and Hong, Hyeong Gwon and Kim, Junmo",
        "Residual Continual Learning",
        2020,
        "{AAAI} Conference on Artificial Intelligence",
        {"note": "arXiv:2002.06774"},
    ),
    "li2016lwf": Paper(
        "inproceedings",
        "Li, Zhizhong and Hoiem, Derek",
        "Learning Without Forgetting",
        2016,
        _ECCV,
        {"pages": "614--629"},
    ),
    "li2018l2sp": Paper(
        "inproceedings",
        "Li, Xuhong and Grandvalet, Yves and Davoine, Franck",
        "Explicit Inductive Bias for Transfer Learning with Convolutional Networks",
        2018,
        "International Conference on Machine Learning",
        {"series": _PMLR, "volume": "80"},
    ),
    "liaw2018tune": Paper(
        "misc",
        "Liaw, Richard and Liang, Eric and Nishihara, Robert and Moritz, Philipp and "
        "Gonzalez, Joseph E. and Stoica, Ion",
        "{Tune}: A Research Platform for Distributed Model Selection and Training",
        2018,
        "arXiv:1807.05118",
    ),
    "lopezpaz2017gem": Paper(
        "inproceedings",
        "Lopez-Paz, David and Ranzato, Marc'Aurelio",
        "Gradient Episodic Memory for Continual Learning",
        2017,
        _NEURIPS,
        {"volume": "30", "pages": "6467--6476"},
    ),
    "mcdonnell2023ranpac": Paper(
        "inproceedings",
        "McDonnell, Mark D. and Gong, Dong and Parvaneh, Amin and Abbasnejad, Ehsan and van "
        "den Hengel, Anton",
        "{RanPAC}: Random Projections and Pre-Trained Models for Continual Learning",
        2023,
        _NEURIPS,
        {"volume": "36", "pages": "12022--12053"},
    ),
    "mensink2013ncm": Paper(
        "article",
        "Mensink, Thomas and Verbeek, Jakob and Perronnin, Florent and Csurka, Gabriela",
        "Distance-Based Image Classification: Generalizing to New Classes at Near-Zero Cost",
        2013,
        _TPAMI,
        {"volume": "35", "number": "11", "pages": "2624--2637"},
    ),
    "nguyen2018vcl": Paper(
        "inproceedings",
        "Nguyen, Cuong V. and Li, Yingzhen and Bui, Thang D. and Turner, Richard E.",
        "Variational Continual Learning",
        2018,
        _ICLR,
    ),
    "vonoswald2020hypernetworks": Paper(
        "inproceedings",
        "von Oswald, Johannes and Henning, Christian and Sacramento, João and Grewe, Benjamin F.",
        "Continual Learning with Hypernetworks",
        2020,
        _ICLR,
    ),
    "paszke2019pytorch": Paper(
        "inproceedings",
        "Paszke, Adam and Gross, Sam and Massa, Francisco and Lerer, Adam and Bradbury, "
        "James and Chanan, Gregory and Killeen, Trevor and Lin, Zeming and Gimelshein, "
        "Natalia and Antiga, Luca and Desmaison, Alban and Kopf, Andreas and Yang, Edward "
        "and DeVito, Zachary and Raison, Martin and Tejani, Alykhan and Chilamkurthy, "
        "Sasank and Steiner, Benoit and Fang, Lu and Bai, Junjie and Chintala, Soumith",
        "{PyTorch}: An Imperative Style, High-Performance Deep Learning Library",
        2019,
        _NEURIPS,
        {"volume": "32", "pages": "8024--8035"},
    ),
    "prabhu2020gdumb": Paper(
        "inproceedings",
        "Prabhu, Ameya and Torr, Philip H. S. and Dokania, Puneet K.",
        "{GDumb}: A Simple Approach That Questions Our Progress in Continual Learning",
        2020,
        _ECCV,
        {"pages": "524--540"},
    ),
    "ratcliff1990recognition": Paper(
        "article",
        "Ratcliff, Roger",
        "Connectionist Models of Recognition Memory: Constraints Imposed by Learning and "
        "Forgetting Functions",
        1990,
        "Psychological Review",
        {"volume": "97", "number": "2", "pages": "285--308"},
    ),
    "rebuffi2017icarl": Paper(
        "inproceedings",
        "Rebuffi, Sylvestre-Alvise and Kolesnikov, Alexander and Sperl, Georg and Lampert, "
        "Christoph H.",
        "{iCaRL}: Incremental Classifier and Representation Learning",
        2017,
        _CVPR,
        {"pages": "2001--2010"},
    ),
    "riemer2019mer": Paper(
        "inproceedings",
        "Riemer, Matthew and Cases, Ignacio and Ajemian, Robert and Liu, Miao and Rish, Irina and "
        "Tu, Yuhai and Tesauro, Gerald",
        "Learning to Learn without Forgetting by Maximizing Transfer and Minimizing Interference",
        2019,
        _ICLR,
    ),
    "schwarz2018progress": Paper(
        "inproceedings",
        "Schwarz, Jonathan and Luketina, Jelena and Czarnecki, Wojciech M. and Grabska- "
        "Barwinska, Agnieszka and Teh, Yee Whye and Pascanu, Razvan and Hadsell, Raia",
        r"Progress \& Compress: A Scalable Framework for Continual Learning",
        2018,
        "International Conference on Machine Learning",
        {"series": _PMLR, "volume": "80"},
    ),
    "shin2017dgr": Paper(
        "inproceedings",
        "Shin, Hanul and Lee, Jung Kwon and Kim, Jaehong and Kim, Jiwon",
        "Continual Learning with Deep Generative Replay",
        2017,
        _NEURIPS,
        {"volume": "30", "pages": "2990--2999"},
    ),
    "vandeven2018generative": Paper(
        "misc",
        "van de Ven, Gido M. and Tolias, Andreas S.",
        "Generative Replay with Feedback Connections as a General Strategy for Continual Learning",
        2018,
        "arXiv:1809.10635",
    ),
    "vandeven2022types": Paper(
        "article",
        "van de Ven, Gido M. and Tuytelaars, Tinne and Tolias, Andreas S.",
        "Three Types of Incremental Learning",
        2022,
        "Nature Machine Intelligence",
        {"volume": "4", "pages": "1185--1197"},
    ),
    "wu2019bic": Paper(
        "inproceedings",
        "Wu, Yue and Chen, Yinpeng and Wang, Lijuan and Ye, Yuancheng and Liu, Zicheng and "
        "Guo, Yandong and Fu, Yun",
        "Large Scale Incremental Learning",
        2019,
        _CVPR,
    ),
    "zenke2017si": Paper(
        "inproceedings",
        "Zenke, Friedemann and Poole, Ben and Ganguli, Surya",
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
    "er_ace": ("caccia2022erace",),
    "fdr": ("benjamin2019fdr", "buzzega2020der"),
    "gdumb": ("prabhu2020gdumb",),
    "icarl": ("rebuffi2017icarl",),
    "bic": ("wu2019bic",),
    "mir": ("aljundi2019mir",),
    "mer": ("riemer2019mer",),
    "gss": ("aljundi2019gss",),
    "hal": ("chaudhry2021hal",),
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
