"""Opens a report in the browser that the system prefers."""

import webbrowser
from pathlib import Path


def opened(index: Path) -> bool:
    """Opens a page; False where there is no browser to open it with, as on a server."""
    try:
        return webbrowser.open(index.absolute().as_uri())
    except webbrowser.Error:
        return False
