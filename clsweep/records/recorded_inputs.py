"""Inputs of a result besides its study file: data, weights and code, by fingerprint.

The comparison of what records say with what is there now. What is there now is found out by
`study.input_fingerprints`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from clsweep.errors import StoreError

if TYPE_CHECKING:
    from clsweep.records.schema import Record

# Raised when some files are read as other bytes than before; `decoding_of` says which, so that
# results of files that were read differently are not mixed.
# 1: alpha was dropped, orientation ignored. 2: what a viewer shows.
FIRST_DECODING = 1

# First words of names, which stand in `versions` of records beside names of packages.
KINDS = ("data", "weights", "code")
_MOST_NAMED = 4
_MEND = "put back what has changed, or choose another folder with `--out`; nothing was deleted"


class Input(NamedTuple):
    """One thing that results are computed from.

    Attributes:
        name: kind and name as in the study file: 'data mnist', 'code my_nets:factory'.
        fingerprint: of all that it holds, 24 hexadecimal digits; '' where it is not there (yet).
        is_published: a data set as it is published, or absent and so downloaded as such: keys of
            stages leave it out.
        parts: (file, class folder or module, its fingerprint), sorted.
        where: its place, for messages.
        decoding: latest change in how files are read that concerns one of them.
    """

    name: str
    fingerprint: str
    is_published: bool = False
    parts: tuple[tuple[str, str], ...] = ()
    where: str = ""
    decoding: int = FIRST_DECODING


Inputs = tuple[Input, ...]


def fingerprints_of(inputs: Iterable[Input]) -> dict[str, str]:
    """Name to fingerprint of what is there."""
    return {one.name: one.fingerprint for one in inputs if one.fingerprint}


def stage_inputs(inputs: Iterable[Input]) -> tuple[tuple[str, str], ...]:
    """(name, fingerprint) of what must be in the keys of stages."""
    return tuple((i.name, i.fingerprint) for i in inputs if not i.is_published and i.fingerprint)


def recorded_fingerprints(versions: Mapping[str, Any]) -> dict[str, str]:
    """Name to fingerprint of the inputs among a record's versions; empty for old records."""
    return {
        name: str(value)
        for name, value in versions.items()
        if name.partition(" ")[0] in KINDS and " " in name
    }


def difference(one: Input, fingerprint: str, parts: Mapping[str, str] | None = None) -> str:
    """What has changed, as a sentence without its end; '' where nothing has, or is not there.

    Args:
        one: what is there now.
        fingerprint: what results were computed from.
        parts: the same in parts, where they are known.
    """
    if fingerprint in ("", one.fingerprint) or not one.fingerprint:
        return ""
    kind, _, name = one.name.partition(" ")
    return (
        f"{kind} '{name}': {short_fingerprint(fingerprint)} then, "
        f"{short_fingerprint(one.fingerprint)} now"
        f"{_changed(dict(one.parts), parts)} ({one.where})"
    )


def _changed(now: Mapping[str, str], then: Mapping[str, str] | None) -> str:
    if not then:
        return ""
    groups = {
        "changed": [part for part in now if part in then and now[part] != then[part]],
        "new": [part for part in now if part not in then],
        "gone": [part for part in then if part not in now],
    }
    return "".join(f"; {word}: {_listed(names)}" for word, names in groups.items() if names)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(sorted(names)[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def input_differences(expected: Iterable[Input], here: Iterable[Input]) -> list[str]:
    """In what a process would compute from something else than its driver plans with.

    Args:
        expected: what is there for the driver.
        here: what is there for the process; a data set that is not there will be downloaded.

    Returns:
        A sentence per difference, without its end.
    """
    own = {one.name: one for one in here}
    found = []
    for one in expected:
        mine = own[one.name]
        kind, _, name = one.name.partition(" ")
        is_to_come = mine.is_published and one.is_published
        if one.fingerprint == mine.fingerprint or (
            is_to_come and "" in (one.fingerprint, mine.fingerprint)
        ):
            continue
        there = _said(one.fingerprint, one.where)
        changed = _changed(dict(mine.parts), dict(one.parts))
        mine_is = _said(mine.fingerprint, mine.where)
        found.append(f"{kind} '{name}': {mine_is}, for the driver {there}{changed}")
    return found


def _said(fingerprint: str, where: str) -> str:
    return f"{short_fingerprint(fingerprint)} ({where})" if fingerprint else f"not found ({where})"


def unlike_nodes_error(complaints: Sequence[str]) -> StoreError:
    """What is raised where processes of a run do not find the same data, weights and code.

    Args:
        complaints: one per node, with its name.
    """
    return StoreError(
        "not every node finds the data, weights and code that the run is planned with:\n"
        + "\n".join(f"    {text}" for text in complaints),
        expected="the same files for the driver and on every node, and no change during a run",
        next_step="copy the driver's files to that node, or take the node out of the cluster, and "
        "run the same command again",
    )


def changed_inputs_error(differences: Sequence[str], where: str) -> StoreError:
    """What is raised where results and inputs do not belong together.

    Args:
        differences: of `difference`.
        where: the results folder.
    """
    return StoreError(
        "the folder holds results of other data, weights or code, which cannot be mixed with new "
        "ones:\n" + "\n".join(f"    {text}" for text in differences),
        expected="what its results were computed from",
        where=where,
        next_step=_MEND,
    )


def decoding_change(one: Input) -> str:
    """Why results of a release that recorded no inputs cannot go on with these; '' if they can.

    Args:
        one: what is there now.
    """
    if one.decoding == FIRST_DECODING:
        return ""
    kind, _, name = one.name.partition(" ")
    return (
        f"{kind} '{name}': some files are read as other pixels than by the clsweep that computed "
        f"these results ({one.where})"
    )


def unknown_text(inputs: Sequence[Input]) -> str:
    """What is said once of a folder whose results do not say what they were computed from.

    Args:
        inputs: what is there now.
    """
    listed = ", ".join(f"{i.name} = {short_fingerprint(i.fingerprint)}" for i in inputs)
    return (
        "an earlier clsweep computed the results in this folder and did not record from what; "
        f"they are taken to be of what is there now ({listed}), which is recorded from here on. "
        "If that has changed since, start anew with another `--out`"
    )


def refuse_mixture(records: Iterable[Record], where: str) -> None:
    """Refuse to choose among trials that are not comparable.

    Args:
        records: of one results folder.
        where: the folder, for the message.

    Raises:
        StoreError: they were computed from different data, weights or code of one name.
    """
    for name, found in _counts(records)[1].items():
        if len(found) > 1:
            kind, _, label = name.partition(" ")
            raise StoreError(
                f"the folder mixes trials of different {kind} under the name '{label}' "
                f"({_how_many(found)})",
                expected="trials whose accuracies can be compared",
                where=where,
                next_step="run the study anew with another `--out`",
            )


def _counts(records: Iterable[Record]) -> tuple[int, dict[str, dict[str, int]]]:
    """Number of records, and of those per name and fingerprint of an input."""
    n, counts = 0, dict[str, dict[str, int]]()
    for record in records:
        n += 1
        for name, value in recorded_fingerprints(record["trial"]["versions"]).items():
            of_name = counts.setdefault(name, {})
            of_name[value] = of_name.get(value, 0) + 1
    return n, counts


def _how_many(found: Mapping[str, int]) -> str:
    return ", ".join(
        f"{n:,} with {short_fingerprint(value)}" for value, n in sorted(found.items())
    )


def mixture_notes(records: Iterable[Record]) -> Iterator[str]:
    """Sentences about what the trials of one folder were computed from, where they differ.

    Args:
        records: of one results folder.
    """
    n, counts = _counts(records)
    for name, found in counts.items():
        kind, _, label = name.partition(" ")
        if len(found) > 1:
            yield (
                f"The folder mixes trials of different {kind} under the name '{label}' "
                f"({_how_many(found)}): their accuracies cannot be compared, so that nothing in "
                "this report can be relied on."
            )
        if unknown := n - sum(found.values()):
            yield (
                f"{unknown:,} of {n:,} trials are of a clsweep that did not record what its "
                f"{kind} '{label}' was; whether it was that of the others ("
                f"{short_fingerprint(min(found))}) is not known."
            )


_SHOWN = 12


def short_fingerprint(fingerprint: str) -> str:
    """What people are shown of a fingerprint."""
    return fingerprint[:_SHOWN]
