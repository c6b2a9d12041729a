"""Results folders in which something has been damaged, exchanged or forged, and the check of one.

*Damage* is whatever happens to files that clsweep wrote: what is read must be what was written,
or be refused. A *forgery* has no checksum, like the files of the first releases, and may say
anything: it must be refused, or be sound.
"""

from __future__ import annotations

import copy
import json
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import torch

import clsweep
from clsweep.cli.main import main
from clsweep.errors import CacheError, ClsweepError
from clsweep.execution import stage_cache
from clsweep.storage.store import Store
from tests.fuzzing.bytes_of import damaged
from tests.fuzzing.command import called, is_readable

__all__ = ["Original", "check_results", "written_results"]

STUDY = """\
name = "fuzzed"
seeds = 2
[benchmark]
name = "split"
examples_per_task = 40
[net]
hidden = [4]
[training]
steps = 2
[resources]
device = "cpu"
[[methods]]
name = "finetune"
[[methods]]
name = "ewc"
lam = [1.0, 100.0]
[[methods]]
name = "finetune"
label = "too fast"
training = { lr = 1e30, steps = 40 }
"""
HOSTILE: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    999,
    1000,
    2**31,
    2**63,
    10**400,
    -(2**70),
    0.5,
    math.nan,
    math.inf,
    1e308,
    "",
    "x" * 10_000,
    "../../x",
    "/etc/passwd",
    "\x00",
    "\x1b[2J\x1b]0;owned\x07",
    "\u202e",
    "<script>alert(1)</script>",
    "[red]x[/red]",
    "[/]",
    "$\\frac{",
    "=1+1",
    "\\input{/etc/passwd}",
    [],
    {},
    [[]],
    [[0, 0, "test", 1, 2]],
    {"a": 1},
    {"cpu_seconds": "x"},
    ["a"],
)


class Original(NamedTuple):
    """What was written.

    Attributes:
        study: the study file.
        compacted: a results folder with tables.
        pending: the same with records that are not compacted yet.
        grown: the study file with one value more, which needs the stages.
        records: trial id -> record, of the grown study too.
        stages: key -> what `stage_cache.load` gives.
    """

    study: Path
    grown: Path
    compacted: Path
    pending: Path
    records: dict[str, dict[str, Any]]
    stages: dict[str, stage_cache.Entry]


def written_results(folder: Path) -> Original:
    """Run a small study to its end, in this process.

    Args:
        folder: an empty one.
    """
    study = folder / "study.toml"
    study.write_text(STUDY)
    ran = called(
        main, ["run", str(study), "--inline", "--quiet", "--out", str(folder / "compacted")]
    )
    assert ran.code == 1, ran
    records = Store(folder / "compacted").load()
    shutil.copytree(folder / "compacted", folder / "pending")
    for table in (folder / "pending").glob("*.parquet"):
        table.unlink()
    for record in records:
        Store(folder / "pending").commit(record)
    grown = folder / "grown.toml"
    grown.write_text(STUDY.replace("[1.0, 100.0]", "[1.0, 100.0, 1e4]"))
    shutil.copytree(folder / "compacted", folder / "grown")
    called(main, ["run", str(grown), "--inline", "--quiet", "--out", str(folder / "grown")])
    records += [r for r in Store(folder / "grown").load() if r not in records]
    assert len(records) == 10
    stages = folder / "compacted" / "stages"
    return Original(
        study=study,
        grown=grown,
        compacted=folder / "compacted",
        pending=folder / "pending",
        records={r["trial"]["trial_id"]: plain(r) for r in records},
        stages={p.name: stage_cache.load(stages, p.name) for p in sorted(stages.iterdir())},
    )


def plain(record: dict[str, Any]) -> dict[str, Any]:
    """A record with its accuracies as lists, to be compared."""
    return {**record, "accuracy": [list(row) for row in record["accuracy"]]}


def check_results(original: Original, folder: Path, rng: random.Random) -> str:
    """Spoil a copy of the results and use it; says how that ended.

    Args:
        original: what was written.
        folder: an empty one, to work in.
        rng: what to spoil, and how.

    Raises:
        AssertionError: something that was not written was accepted, or an end was no message.
    """
    kind = rng.choice(list(_SPOILERS))
    source = original.pending if kind == "record" else original.compacted
    out = folder / "out"
    shutil.copytree(source, out)
    is_damage = _SPOILERS[kind](out, rng)
    name, action = rng.choice(_ACTIONS)
    if is_damage:
        # Before anything else has looked: a record is set aside when it is first read.
        _assert_true_stages(original, out)
    ended = action(original, out, folder)
    if is_damage:
        _assert_true_records(original, out, is_run=name == "run")
    else:
        _assert_sound_records(out)
    return f"{kind} {'damage' if is_damage else 'forgery'}: {ended}"


# ----------------------------------------------------------------------------------- spoilers


def _spoil_record(out: Path, rng: random.Random) -> bool:
    paths = sorted((out / "records").glob("*.json"))
    path, other = rng.sample(paths, 2)
    choice = rng.randrange(8)
    if choice < 3:
        path.write_bytes(damaged(path.read_bytes(), rng))
    elif choice == 3:
        path.write_bytes(other.read_bytes())
    elif choice == 4:
        path.with_name(f"{path.stem}x.json").write_bytes(path.read_bytes())
    elif choice == 5:
        path.write_text(json.dumps({"schema": rng.choice((2, 99, "2", None, 1.5))}))
    else:
        record = json.loads(path.read_bytes())
        is_damage = choice == 6
        if not is_damage:
            del record["sha256"]
        _edit(record, rng)
        path.write_text(json.dumps(record))
        return is_damage
    return True


def _spoil_table(out: Path, rng: random.Random) -> bool:
    paths = sorted(out.glob("*.parquet"))
    path, other = rng.sample(paths, 2)
    choice = rng.randrange(8)
    if choice < 3:
        path.write_bytes(damaged(path.read_bytes(), rng))
    elif choice == 3:
        mine = path.read_bytes()
        path.write_bytes(other.read_bytes())
        other.write_bytes(mine)
    elif choice == 4:
        path.unlink()
    elif choice == 5:
        pq.write_table(pa.table({"a": [1, 2], "b": ["x", None]}), path)
    else:
        table = pq.read_table(path)
        changed = _changed_table(table, rng)
        is_damage = choice == 6
        if not is_damage:
            changed = changed.replace_schema_metadata({"clsweep_schema": rng.choice("11112x")})
        pq.write_table(changed, path)
        return is_damage
    return True


def _spoil_stage(out: Path, rng: random.Random) -> bool:
    stage, other = rng.sample(sorted((out / "stages").iterdir()), 2)
    path = stage / rng.choice(("stage.json", "tensors.safetensors"))
    choice = rng.randrange(7)
    if choice < 3:
        path.write_bytes(damaged(path.read_bytes(), rng))
    elif choice == 3:
        path.write_bytes((other / path.name).read_bytes())
    elif choice == 4:
        shutil.rmtree(stage)
        shutil.copytree(other, stage)
    elif choice == 5:
        path.unlink()
    else:
        marker = json.loads((stage / "stage.json").read_bytes())
        _edit(marker, rng)
        (stage / "stage.json").write_text(json.dumps(marker))
    return True


def _spoil_other(out: Path, rng: random.Random) -> bool:
    path = out / rng.choice(("versions.json", "study.toml", "test_looks.jsonl"))
    if not path.exists():
        path.write_text('{"at": "2025-01-01", "by": "report", "study": "x", "n_trials": 1}\n')
    if rng.random() < 0.3 and path.suffix == ".json":
        bound = json.loads(path.read_bytes())
        _edit(bound, rng)
        path.write_text(json.dumps(bound))
    else:
        path.write_bytes(damaged(path.read_bytes(), rng))
    return True


def _edit(value: Any, rng: random.Random) -> None:
    """Change one thing somewhere in JSON."""
    places = []
    todo = [value]
    while todo:
        here = todo.pop()
        for key in list(here) if isinstance(here, dict) else range(len(here)):
            places.append((here, key))
            if isinstance(here[key], (dict, list)):
                todo.append(here[key])
    holder, key = rng.choice(places)
    found = holder[key]
    choice = rng.randrange(5)
    if choice == 0:
        del holder[key]
    elif choice == 1 and isinstance(holder, dict):
        holder[f"{key}x"] = copy.deepcopy(found)
    elif choice == 2 and isinstance(found, (int, float)) and not isinstance(found, bool):
        holder[key] = found + rng.choice((-1, 1, 1000, -1000))
    elif choice == 3 and isinstance(found, list) and found:
        found.append(copy.deepcopy(rng.choice(found)))
    else:
        holder[key] = copy.deepcopy(rng.choice(HOSTILE))


def _changed_table(table: pa.Table, rng: random.Random) -> pa.Table:
    index = rng.randrange(table.num_columns)
    name, values = table.column_names[index], table.column(index).to_pylist()
    place = rng.randrange(len(values))
    choice = rng.randrange(8)
    if choice == 0:
        return table.drop_columns([name])
    if choice == 1:
        return table.append_column(rng.choice(("more", name)), table.column(index))
    if choice == 2:
        return pa.concat_tables([table, table.slice(place, 1)])
    if choice == 3:
        return table.slice(0, rng.randrange(len(values)))
    if choice == 4:
        texts = pa.array([None if v is None else str(v) for v in values], pa.large_string())
        return table.set_column(index, name, texts)
    if choice == 5:
        order = list(range(len(values)))
        rng.shuffle(order)
        return table.take(pa.array(order))
    if choice == 6:
        values[place] = values[rng.randrange(len(values))]
        return table.set_column(index, name, pa.array(values, table.schema.field(index).type))
    values[place] = rng.choice(HOSTILE)
    try:
        return table.set_column(index, name, pa.array(values, table.schema.field(index).type))
    except (pa.ArrowException, OverflowError, UnicodeError, TypeError, ValueError):
        values[place] = None
        return table.set_column(index, name, pa.array(values, table.schema.field(index).type))


_SPOILERS: dict[str, Callable[[Path, random.Random], bool]] = {
    "record": _spoil_record,
    "table": _spoil_table,
    "stage": _spoil_stage,
    "other": _spoil_other,
}


# ------------------------------------------------------------------------------------ actions


def _command(*words: str, codes: tuple[int, ...] = (0, 2)) -> str:
    ran = called(main, words)
    assert ran.code in codes, ran
    is_readable(ran.out)
    is_readable(ran.err)
    if ran.code == 2:
        assert ran.err.count("error: ") == 1, ran.err
        assert len(ran.err) < 8000, f"a message of {len(ran.err)} characters"
        return "refused"
    assert "error: " not in ran.err, ran
    return "went on"


def _function(call: Callable[[], object]) -> str:
    try:
        call()
    except ClsweepError as error:
        is_readable(str(error))
        return "refused"
    return "went on"


def _load(original: Original, out: Path, folder: Path) -> str:
    return _function(Store(out).load)


def _statuses(original: Original, out: Path, folder: Path) -> str:
    return _function(Store(out).statuses)


def _compact(original: Original, out: Path, folder: Path) -> str:
    return _function(Store(out).compact)


def _notebook(original: Original, out: Path, folder: Path) -> str:
    return _function(lambda: repr(clsweep.load(out)))


def _report(original: Original, out: Path, folder: Path) -> str:
    return _command("report", str(out), "--format", "html,csv,latex")


def _figure(original: Original, out: Path, folder: Path) -> str:
    return _command("report", str(out), "--format", "svg")


def _plan(original: Original, out: Path, folder: Path) -> str:
    return _command("plan", str(original.study), "--out", str(out))


def _run(original: Original, out: Path, folder: Path) -> str:
    words = ("run", str(original.study), "--out", str(out), "--inline", "--quiet")
    return _command(*words, codes=(0, 1, 2))


def _grow(original: Original, out: Path, folder: Path) -> str:
    words = ("run", str(original.grown), "--out", str(out), "--inline", "--quiet")
    return _command(*words, codes=(0, 1, 2))


def _export(original: Original, out: Path, folder: Path) -> str:
    return _command("export", str(out), "--optuna", str(folder / "search.log"))


_ACTIONS = (
    ("load", _load),
    ("load", _load),
    ("statuses", _statuses),
    ("compact", _compact),
    ("notebook", _notebook),
    ("report", _report),
    ("figure", _figure),
    ("plan", _plan),
    ("plan", _plan),
    ("run", _run),
    ("run", _run),
    ("run", _grow),
    ("run", _grow),
    ("export", _export),
)


# ----------------------------------------------------------------------------------- what holds


def _assert_true_stages(original: Original, out: Path) -> None:
    for key, expected in original.stages.items():
        try:
            found = stage_cache.load(out / "stages", key)
        except CacheError as error:
            is_readable(str(error))
            continue
        assert found.facts == expected.facts, f"stage {key} was accepted with other facts"
        assert found.tensors.keys() == expected.tensors.keys(), key
        for name, tensor in expected.tensors.items():
            assert torch.equal(found.tensors[name], tensor), f"stage {key}, {name}"


def _assert_true_records(original: Original, out: Path, *, is_run: bool) -> None:
    try:
        found = [plain(record) for record in Store(out).load()]
    except ClsweepError:
        return
    for record in found:
        trial = record["trial"]["trial_id"]
        assert trial in original.records, f"{trial} was never written"
        expected = original.records[trial]
        if is_run:  # what was missing has been trained again, which takes another time
            assert record["accuracy"] == expected["accuracy"], f"{trial} has other accuracies"
            assert record["config"] == expected["config"], f"{trial} has another configuration"
        else:
            assert record == expected, f"{trial} was accepted changed"


def _assert_sound_records(out: Path) -> None:
    try:
        found = [plain(record) for record in Store(out).load()]
    except ClsweepError:
        return
    assert len({r["trial"]["trial_id"] for r in found}) == len(found)
    for record in found:
        for after, on, split, n_correct, n_total in record["accuracy"]:
            assert 0 <= n_correct <= n_total
            assert n_total > 0
            assert split in ("validation", "test")
            assert -1 <= after < 1000
            assert 0 <= on < 1000
        assert record["accuracy"] or record["trial"]["status"] != "ok"
        assert record["trial"]["trial_id"].startswith(f"{record['config']['config_id']}-")
        assert "/" not in record["trial"]["trial_id"]
