"""The terms of the page: what each means, where it stands in the text, and all of them at the end.

A term in a text is a link to its entry in the glossary, whose text the page's script shows on
hover and on focus, and which a screen reader reads as its description.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import NamedTuple


class Term(NamedTuple):
    """One entry of the glossary.

    Attributes:
        key: part of its id.
        name: as the glossary heads it.
        meaning: a sentence or two in plain words.
        words: how it stands in sentences; empty where it is a heading alone.
    """

    key: str
    name: str
    meaning: str
    words: tuple[str, ...] = ()


TERMS = (
    Term(
        "source",
        "source, source accuracy",
        "The tasks before the last, and the accuracy on their test images after all tasks were "
        "learnt. What is lost of it was forgotten.",
        ("source accuracy",),
    ),
    Term(
        "target",
        "target, target accuracy",
        "The last task, and the accuracy on its test images. What it lacks was not learnt.",
        ("target accuracy",),
    ),
    Term(
        "average",
        "average accuracy",
        "The mean accuracy over all tasks after the last was learnt (ACC).",
        ("average accuracy", "best average"),
    ),
    Term(
        "chosen",
        "chosen",
        "The numbers of the method with the best result on validation images. Test images choose "
        "nothing.",
        ("chosen",),
    ),
    Term(
        "validation",
        "validation and test images",
        "Validation images choose a configuration; test images, which no training and no choice "
        "has seen, give its accuracy.",
        ("validation data", "test data"),
    ),
    Term(
        "configuration",
        "configuration",
        "A method with its numbers. It is trained once per seed.",
        ("configurations", "configuration"),
    ),
    Term("trial", "trial", "One configuration, trained with one seed.", ("trials",)),
    Term(
        "seed",
        "seed",
        "The start of all random draws of a trial. Equal seeds give every method the same tasks, "
        "so that they are compared seed by seed.",
        ("seeds",),
    ),
    Term(
        "worst-best",
        "worst–best seed",
        "The lowest and the highest average accuracy of one seed, of the chosen configuration.",
    ),
    Term(
        "error",
        "± (standard error)",
        "How far the mean over seeds would typically move with other seeds: the standard "
        "deviation over seeds divided by the root of their number.",
        ("standard error", "s.e.m."),
    ),
    Term(
        "interval",
        "95 % interval",
        "Where the true value lies, with other seeds in mind. The intervals of all pairs hold at "
        "once: 95 of 100 such studies would have no wrong one among them.",
        ("95 % interval", "95 % intervals"),
    ),
    Term(
        "claim",
        "claim (*)",
        "A difference that is more than luck of the seeds: its interval leaves out zero, though "
        "it holds for all pairs at once, and there are six seeds or more.",
        ("a claim", "claims"),
    ),
    Term(
        "behind",
        "difference to the first",
        "Average accuracy less that of the first method with the same seeds, in percentage "
        "points, with its 95 % interval.",
    ),
    Term(
        "front",
        "front",
        "The configurations of a method that none of its others beats in both accuracies, by "
        "validation data: the best trade-offs that it offers.",
        ("fronts", "front"),
    ),
    Term(
        "knob",
        "knob",
        "The number of a method that trades old tasks for the new one, such as the weight of a "
        "penalty.",
        ("knob",),
    ),
    Term(
        "reference",
        "reference",
        "A method without a knob that marks an end of the figure: fine-tuning, frozen, joint.",
        ("references", "References"),
    ),
    Term(
        "fine-tuning",
        "fine-tuning",
        "Training on the new task and doing nothing against forgetting. What it reaches on the "
        "target is what may be asked for.",
        ("fine-tuning",),
    ),
    Term(
        "joint",
        "joint",
        "Training on the data of all tasks together: what would be possible if none had to be "
        "given back.",
        ("joint",),
    ),
    Term(
        "frozen",
        "frozen trunk",
        "All layers but the head keep what they learnt before; only the head is trained.",
        ("frozen trunk", "frozen"),
    ),
    Term(
        "source-model",
        "source model",
        "The network before it learnt the last task: nothing is forgotten yet, and nothing of the "
        "target learnt.",
        ("source model", "sources as learnt"),
    ),
    Term(
        "required",
        "required target accuracy",
        "What fine-tuning reaches on the target, less the points that may be given up for the "
        "source. Among the configurations that meet it on validation data the one that keeps most "
        "of the source is chosen.",
        ("required target accuracy", "required target"),
    ),
    Term(
        "kept",
        "source kept",
        "The source accuracy that is left at a required target accuracy. In brackets: the target "
        "accuracy that was got with it.",
        ("source kept", "most source kept"),
    ),
    Term(
        "dagger",
        "† (missed)",
        "The required target accuracy was met on validation images and is missed on test images, "
        "so that the source kept looks better than it is.",
        ("†",),
    ),
    Term(
        "margin",
        "margin",
        "By how much a choice has to exceed the required target accuracy on validation data, in "
        "standard errors.",
        ("margin",),
    ),
    Term(
        "needs",
        "needs of old tasks",
        "What a method has to have of earlier tasks beside the last network: stored examples, "
        "statistics, a generator. Methods of unequal needs compete in unequal ways.",
    ),
    Term(
        "keeps",
        "keeps (memory)",
        "Bytes that a method carries from task to task, beside the network that is evaluated.",
        ("carried from task to task",),
    ),
    Term(
        "hypervolume",
        "hypervolume",
        "The area below a front, from chance on: one number for all trade-offs of a method. "
        "Larger is better.",
        ("hypervolume",),
    ),
    Term(
        "normalised",
        "normalised hypervolume",
        "The area below a front as a share of that between the references; more than 1 is "
        "possible.",
    ),
    Term(
        "decades",
        "decades",
        "How wide the good values of the knob are: 1 is a factor of ten from the lowest to the "
        "highest value that loses less than one point. Wider is easier to tune.",
        ("decades",),
    ),
    Term(
        "cross-fitted",
        "cross-fitted",
        "Each seed is read under the choice of all others, so that no seed profits from having "
        "chosen.",
        ("cross-fitted",),
    ),
    Term("plain", "plain", "All seeds choose, and the same seeds are read."),
    Term(
        "other-choices",
        "other choices",
        "How often another configuration is chosen, or none, when one seed is left out.",
    ),
    Term(
        "backward",
        "backward transfer (BWT)",
        "How the accuracy on earlier tasks changed from right after they were learnt to the end, "
        "in points; below zero is forgetting.",
        ("backward transfer",),
    ),
    Term(
        "forward",
        "forward transfer (FWT)",
        "The accuracy on a task before it was learnt, above that of an untrained network, in "
        "points.",
        ("forward transfer",),
    ),
    Term(
        "forgetting",
        "forgetting",
        "From the best accuracy of an earlier task since it was learnt to the one at the "
        "end, in points.",
        ("forgetting",),
    ),
    Term(
        "learning",
        "learning accuracy",
        "The mean accuracy on each task right after it was learnt.",
        ("learning accuracy",),
    ),
    Term(
        "regret",
        "regret",
        "Points of average accuracy that a rule of choice gives away against the best "
        "configuration on test data.",
        ("regret",),
    ),
    Term(
        "protocol",
        "protocol",
        "A rule that chooses a configuration from validation accuracies.",
        ("protocol",),
    ),
    Term("worst-seed", "worst seed", "The lowest value that one seed gave."),
    Term("best-seed", "best seed", "The highest value that one seed gave."),
    Term(
        "images",
        "images ±",
        "How far the mean would typically move with another draw of as many test images.",
        ("images ±", "test set"),
    ),
    Term("per-class", "accuracy per class", "The share of a class's test images that is right."),
    Term("balanced", "balanced accuracy", "The mean of the accuracies of all classes."),
    Term("measure", "measure", "A number that is computed from the accuracies on all tasks."),
    Term(
        "diverged",
        "diverged",
        "The training ended with numbers that are no numbers. A configuration that diverged with "
        "any seed is on no front and cannot be chosen.",
        ("diverged",),
    ),
    Term("failed", "failed", "The trial ended with an error, or out of memory.", ("failed",)),
    Term(
        "stopped",
        "stopped early",
        "A trial that was given up since it lay behind another configuration of its method.",
        ("stopped early",),
    ),
    Term("steps", "steps", "Updates of the parameters, each by one batch."),
    Term("time", "time", "By the clock, from the start of a trial to its end."),
    Term("cpu", "CPU", "Processor time of a trial."),
    Term("gpu", "GPU", "The share of a GPU that a trial had, times its time."),
    Term("data", "data", "Bytes of stored examples of earlier tasks."),
    Term(
        "nuisance",
        "nuisance",
        "A number of a method that is not its knob, such as a temperature.",
        ("nuisance",),
    ),
    Term(
        "scenario",
        "task-, domain-, class-incremental",
        "What is known of the task at test time. Task: which task it is, and each has a head of "
        "its own. Domain: nothing, and all tasks have the same outputs. Class: nothing, and the "
        "outputs of all tasks compete.",
        ("task-incremental", "domain-incremental", "class-incremental"),
    ),
    Term(
        "grid",
        "grid",
        "The values of a method's numbers that were tried.",
        ("grid", "values tried"),
    ),
    Term("importances", "importances", "Bytes that say how much each parameter matters."),
    Term("models", "models", "Bytes of teachers, anchors, generators and generated weights."),
    Term("parameters", "parameters", "Numbers of the network that is evaluated."),
)  # fmt: skip
_BY_KEY = {term.key: term for term in TERMS}
_BY_WORD = {word: term for term in TERMS for word in term.words}
_WORDS = re.compile(
    "|".join(
        rf"(?<![\w-]){re.escape(w)}(?![\w-])" for w in sorted(_BY_WORD, key=len, reverse=True)
    )
)
# Headings of tables: what is not a term's own name or one of its words.
_HEADINGS = {
    "method": "",
    "needs": "needs",
    "average": "average",
    "source": "source",
    "target": "target",
    "source, CI": "interval",
    "worst seed": "worst-seed",
    "best seed": "best-seed",
    "seeds ±": "error",
    "images ±": "images",
    "source, images ±": "images",
    "target, images ±": "images",
    "normalised": "normalised",
    "normalised hypervolume": "normalised",
    "plain": "plain",
    "other choices": "other-choices",
    "configs": "diverged",
    "seeds": "diverged",
    "stopped": "stopped",
    "in all": "keeps",
    "CPU": "cpu",
    "GPU": "gpu",
    "balanced": "balanced",
    "worst class": "per-class",
}


def term_of_heading(table: str, heading: str) -> str:
    """The key of the term that explains a column.

    Args:
        table: what `--tables` calls the table.
        heading: of the column.
    """
    if table in ("regret", "measures") and heading != "method":
        return "regret" if table == "regret" else "measure"
    if table == "fronts" and heading == "best average":
        return "interval"
    if heading in _HEADINGS:
        return _HEADINGS[heading]
    if heading in _BY_KEY:
        return heading
    if heading in _BY_WORD:
        return _BY_WORD[heading].key
    return _BY_KEY["per-class" if table == "per-class" else "measure"].key


def term(key: str, text: str) -> str:
    """A text with its explanation, in HTML.

    Args:
        key: of the term.
        text: what stands there; it is escaped.
    """
    found = _BY_KEY[key].key
    shown = html.escape(text)
    return f'<a class="term" href="#term-{found}" aria-describedby="term-{found}">{shown}</a>'


def explained(text: str) -> str:
    """A sentence in HTML, with every term explained where it stands first.

    Args:
        text: plain, with code between grave accents; all of it is escaped.
    """
    seen: set[str] = set()
    parts = text.split("`")
    if len(parts) % 2 == 0:  # an accent alone is one
        return "".join(_explained(text, seen))
    return "".join(
        f"<code>{html.escape(part)}</code>" if place % 2 else "".join(_explained(part, seen))
        for place, part in enumerate(parts)
    )


def _explained(text: str, seen: set[str]) -> Iterator[str]:
    end = 0
    for found in _WORDS.finditer(text):
        key = _BY_WORD[found[0]].key
        if key in seen:
            continue
        seen.add(key)
        yield html.escape(text[end : found.start()])
        yield term(key, found[0])
        end = found.end()
    yield html.escape(text[end:])


def glossary_html() -> str:
    """All terms by name, as a list of definitions."""
    entries = sorted(TERMS, key=lambda one: re.sub("[^a-z]", "", one.name.lower()))
    rows = (
        f"<div><dt>{html.escape(one.name)}</dt>"
        f'<dd id="term-{one.key}" tabindex="-1">{html.escape(one.meaning)}</dd></div>'
        for one in entries
    )
    return f'<dl class="glossary">{"".join(rows)}</dl>'
