"""Where the files are that a table names."""

import os
import unicodedata
from pathlib import Path

from mincurate.images import object_storage
from mincurate.images.folders import LEADS_OUT


class Beside:
    """Finds files by what the rows of a table say of them.

    Relative paths start at the folder of the table, and stay below it.
    """

    def __init__(self, table: Path, follow_links: bool) -> None:
        self.folder = os.path.dirname(os.path.abspath(table))
        self.real, self.follow_links = os.path.realpath(self.folder), follow_links
        self._names: dict[str, dict[str, str]] = {}

    def find(self, cell: str) -> tuple[str, str, str | None]:
        """The absolute path or URL of a file, its identity, and the reason why it is not read."""
        if not cell.strip():
            return "", "", "no path in the table"
        path = object_storage.normal(object_storage.local(cell.strip()))
        if object_storage.scheme(path):
            unread = None if object_storage.remote(path) else "a URL of a kind that is not read"
            return path, path, unread
        path = self._spelled(cell, path)
        absolute = os.path.isabs(path)
        path = os.path.normpath(os.path.join(self.folder, path))
        below = Path(path).is_relative_to(self.folder)
        rel_path = Path(os.path.relpath(path, self.folder) if below else path).as_posix()
        reason = None
        if not (absolute or below):
            reason = "relative path out of the table's folder, not read"
        elif not os.path.exists(path):
            reason = "file not found"
        elif not (absolute or self.follow_links or self._stays(path)):
            reason = LEADS_OUT
        return path, rel_path, reason

    def _stays(self, path: str) -> bool:
        return Path(os.path.realpath(path)).is_relative_to(self.real)

    def _spelled(self, *spellings: str) -> str:
        """The spelling of a path under which there is a file; the last if there is none.

        Tried are the path as it stands and without spaces around it, the same with the slashes of
        Windows turned, and other forms of Unicode.
        """
        spellings += tuple(path.replace("\\", "/") for path in spellings if "\\" in path)
        for path in spellings:
            if os.path.exists(os.path.join(self.folder, path)):
                return path
        for path in spellings:
            place = "/" if path.startswith("/") else self.folder
            for part in path.strip("/").split("/"):
                place = os.path.join(place, self._name_in(place, part))
            if not path.isascii() and os.path.exists(place):
                return place if path.startswith("/") else os.path.relpath(place, self.folder)
        return spellings[-1]

    def _name_in(self, folder: str, name: str) -> str:
        """How a name is spelled in a folder: accents may be letters of their own there."""
        if name.isascii():
            return name
        if folder not in self._names:
            inside = os.listdir(folder) if os.path.isdir(folder) else []
            self._names[folder] = {unicodedata.normalize("NFC", n): n for n in inside}
        return self._names[folder].get(unicodedata.normalize("NFC", name), name)
