"""An empty sheet to draw on, and a sheet written to a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltk.errors import LaunchError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure(width: float, height: float) -> "Figure":
    """An empty sheet, width and height in inches; no window, whatever the machine has."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sheet = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(sheet)
    return sheet


def save(sheet: Any, path: Path) -> None:
    """Write a picture; the ending of its name says which format.

    Raises:
        LaunchError: the format is unknown, or the disk refuses.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.savefig(path)
    except ValueError as error:
        raise LaunchError(path, "", str(error).split("(")[0].strip(), "End its name in .png, .pdf or .svg.") from None
    except OSError as error:
        raise LaunchError(path, "", f"cannot be written ({error.strerror or error})", "Choose another place.") from None
