"""The source files of all code of the user's own that a study names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from clsweep.data.factory_calls import FACTORY, factory_call
from clsweep.imported_sources import is_of_installed_package
from clsweep.nets.code_files import CodeFile, code_files
from clsweep.records.trial_extras import MEASURE_GROUP
from clsweep.records.trial_results import WHERE
from clsweep.study.declarations import declared_of
from clsweep.study.own_optimisers import own_optimisers
from clsweep.user_code import code_path

if TYPE_CHECKING:
    from clsweep.study.study_tables import StudyTables


def own_code_files(study: StudyTables) -> list[CodeFile]:
    """Files of its methods, learners, estimators, network, optimisers, data and measures.

    Each once, with the local modules that they import; those of installed packages, and
    clsweep's, are left out.

    Args:
        study: the study.
    """
    declared = declared_of(study)
    paths = {entry.path for entry in declared.methods.values()} | declared.estimators.keys()
    if study.net.name == "custom":
        paths.add(study.net.factory)
    paths |= {factory_call(n).path for n in study.benchmark.datasets if n.startswith(FACTORY)}
    paths.update(own_optimisers(study.optimisers))
    paths |= {code_path(n, where=WHERE, group=MEASURE_GROUP) for n in study.report.measures}
    modules = sorted({path.partition(":")[0] for path in paths})
    found = {file.module: file for module in modules for file in code_files(module)}
    return own(found.values())


def own(files: Iterable[CodeFile]) -> list[CodeFile]:
    """Those that are neither clsweep's nor of installed packages.

    Args:
        files: of modules.
    """
    return [
        file
        for file in files
        if file.module.partition(".")[0] != "clsweep" and not is_of_installed_package(file.path)
    ]
