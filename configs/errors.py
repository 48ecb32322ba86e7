"""The one exception tree of the project.

    GrandmodelError
    ├── ConfigError      a config file, key, value or override
    ├── DataError        a data file or a row of it
    ├── ActionError      an action outside its space, or not finite
    ├── ArtefactError    an exported policy: missing, damaged, or of other columns
    ├── RequestError     a request to the cascade, such as a book state in JSON
    ├── AuditError       the cascade's audit log cannot be written, or is damaged
    ├── RegistryError    a name that no registry knows
    ├── SimulatorError   a capacity or state that the simulator cannot serve
    ├── TrackingError    the MLflow store
    └── TrainingError    a run that cannot start or go on

Every message says what is wrong, where, what was got, what was expected and
what to do about it. The command line prints it alone and exits with code 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_CODE = 2


class GrandmodelError(Exception):
    """Base of every error that a user can cause and mend."""


class ConfigError(GrandmodelError):
    """A configuration file, key, value or override is wrong."""


class DataError(GrandmodelError):
    """A data file cannot be read, or rows of it are wrong."""


class ActionError(GrandmodelError):
    """An action lies outside its space or is not finite."""


class ArtefactError(GrandmodelError):
    """An exported policy is missing, damaged, or does not fit this version."""


class RequestError(GrandmodelError):
    """A request to the cascade is malformed."""


class AuditError(GrandmodelError):
    """The audit log cannot be written or read."""


class RegistryError(GrandmodelError):
    """A name is not registered."""


class SimulatorError(GrandmodelError):
    """The simulator was asked for more than its arrays hold, or given a foreign state."""


class TrackingError(GrandmodelError):
    """The tracking store cannot be reached or does not hold what was asked for."""


class TrainingError(GrandmodelError):
    """A training run cannot start or go on."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A clause that names the nearest of the `known` names, or lists them all."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return "known: " + ", ".join(names)
