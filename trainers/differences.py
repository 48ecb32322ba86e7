"""In what two configurations differ, in words."""

from __future__ import annotations

from collections.abc import Mapping

_NAMED = 5
# Of an environment, what training alone knows: the episodes that policies are judged on are the
# same, whatever is paid for in training and whatever a critic is told.
_TRAINING_ALONE = ("reward.", "augmentation.", "tilt.commitment_bars", "critic_sees_path")


def as_judged(env: Mapping[str, str]) -> dict[str, str]:
    """Those settings of an environment, by dotted key, that episodes of a judgement depend on."""
    return {key: value for key, value in env.items() if not key.startswith(_TRAINING_ALONE)}


def differences(
    now: Mapping[str, str], then: Mapping[str, str], then_is: str, prefix: str = ""
) -> str | None:
    """The keys whose values differ with both values, the first few of them; None where none do.

    Args:
        now, then: dotted key -> value, see `trainers.tracking.flatten`.
        then_is: what stands before the value of `then`, such as "was".
        prefix: of the keys, as they are to be read.
    """
    keys = sorted(key for key in now.keys() | then.keys() if now.get(key) != then.get(key))
    if not keys:
        return None
    named = ", ".join(
        f"{prefix}{key}={now.get(key, 'absent')} ({then_is} {then.get(key, 'absent')})"
        for key in keys[:_NAMED]
    )
    return named + (f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else "")
