"""What pictures of all environments share: modes, size, axes, and how they become pixels."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

from configs.errors import ActionError, ConfigError

RENDER_MODES = ("rgb_array",)
WIDTH, HEIGHT = 800, 480  # pixels
RGB = tuple[int, int, int]
FONT = 8
ROOM = 1.05  # what axes leave beyond the largest value

_DPI = 100
_FULL = 255.0


def checked_render_mode(mode: str | None) -> str | None:
    """The mode, if pictures can be had in it.

    Raises:
        ConfigError: it is neither None nor one of RENDER_MODES.
    """
    if mode is not None and mode not in RENDER_MODES:
        raise ConfigError(
            f"render_mode is {mode!r}, expected None or one of: {', '.join(RENDER_MODES)}"
        )
    return mode


class Begun(Protocol):
    """A history of an episode, of which there may be none yet."""

    @property
    def begun(self) -> bool:
        """Whether there is an episode to show."""
        ...


Kept = TypeVar("Kept", bound=Begun)


def to_render(history: Kept | None) -> Kept | None:
    """The history, where there is a picture; without a render mode, where it is None, a warning.

    Raises:
        ActionError: no episode has begun yet.
    """
    if history is None:
        gymnasium.logger.warn(
            "render() without a render mode shows nothing; make the environment with "
            f"render_mode={RENDER_MODES[0]!r}"
        )
        return None
    if not history.begun:
        raise ActionError("render() before the first episode; call reset() first")
    return history


def blank() -> Any:
    """An empty figure of WIDTH by HEIGHT."""
    # Only who renders needs matplotlib, which takes a second to come in.
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH / _DPI, HEIGHT / _DPI), dpi=_DPI, facecolor="white")


def pixels(figure: Any) -> NDArray[np.uint8]:
    """The figure as uint8 [HEIGHT, WIDTH, 3]: red, green and blue."""
    # Agg draws without a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3].copy()


def colour(rgb: RGB) -> tuple[float, ...]:
    """As matplotlib takes it."""
    return tuple(part / _FULL for part in rgb)


def dress(axes: Any, title: str, x: str, y: str) -> None:
    """Title and labels."""
    axes.set_title(title, fontsize=FONT + 1, loc="left")
    axes.set_xlabel(x, fontsize=FONT)
    axes.set_ylabel(y, fontsize=FONT)
    axes.tick_params(labelsize=FONT - 1)
    axes.ticklabel_format(axis="y", useOffset=False)


def legend(axes: Any) -> None:
    """Above the axes, on the right."""
    axes.legend(fontsize=FONT - 1, frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
