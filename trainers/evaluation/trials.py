"""How many configurations were tried before this one was chosen, taken from the study itself."""

from __future__ import annotations

from pathlib import Path

from configs.chosen import ChosenFrom
from configs.errors import ConfigError, TrackingError, nearest

CANDIDATES = "ensemble/candidates"  # among a manifest's metrics: ensembles that were scored
_SQLITE = "sqlite:///"


def trials_of(storage: str, study: str | None) -> int:
    """Trials of an Optuna study that were begun: finished, pruned, failed or running.

    One that failed or was pruned was tried too: leaving it out would flatter the best.

    Args:
        storage: address of the study's database.
        study: its name; None where the storage holds one study alone.

    Raises:
        ConfigError: no such study, or several and none named.
        TrackingError: the storage cannot be read.
    """
    import optuna
    from optuna.exceptions import OptunaError
    from optuna.trial import TrialState
    from sqlalchemy.exc import SQLAlchemyError

    from trainers.sweeps.study import wanted

    _check_file(storage)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        names = optuna.get_all_study_names(storage)
        chosen = study if study is not None else _only(names, storage)
        if chosen not in names:
            raise ConfigError(f"--study {study}: not in {storage}; {nearest(chosen, names)}")
        found = optuna.load_study(study_name=chosen, storage=storage)
        begun = [trial for trial in wanted(found) if trial.state is not TrialState.WAITING]
    except (OptunaError, SQLAlchemyError, ImportError, ValueError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TrackingError(
            f"the study's storage {storage} cannot be read ({first}); correct --storage, or say "
            "how many were tried with --trials"
        ) from error
    if not begun:
        raise ConfigError(f"study '{chosen}' in {storage} has no trial yet; expected one at least")
    return len(begun)


def trials_behind(chosen: ChosenFrom) -> tuple[int, str]:
    """Trials of the study that settings came out of, and how that is known.

    Counted in the study itself where it can be read, for it may have gone on; else as the
    settings say, which were written with the password left out of the address.
    """
    told = f"study '{chosen.study}', which its settings were chosen from"
    try:
        count = trials_of(chosen.storage, chosen.study)
    except (ConfigError, TrackingError):
        return chosen.trials, f"{chosen.trials} trials are those of {told}, as the settings say."
    count = max(count, chosen.trials)
    return count, f"{count} trials were counted in {told}."


def _check_file(storage: str) -> None:
    """A database that is not there would be made anew, and then be found empty."""
    if storage.startswith(_SQLITE) and not Path(storage.removeprefix(_SQLITE)).is_file():
        raise TrackingError(
            f"--storage {storage}: there is no such file; name the study's database, or say how "
            "many were tried with --trials"
        )


def _only(names: list[str], storage: str) -> str:
    if len(names) != 1:
        shown = ", ".join(names) or "none"
        raise ConfigError(f"{storage} holds {len(names)} studies ({shown}): name one with --study")
    return names[0]
