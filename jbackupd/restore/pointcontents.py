"""What an overlay lacks, read from a view of its point."""

from __future__ import annotations

import errno
import os
import threading
from collections import OrderedDict
from collections.abc import Callable

from jbackupd.model.errors import JbackupdError
from jbackupd.restore.fileview import FileView
from jbackupd.restore.view import PointView

FILES_MAX = 64
"""So many files are kept open: a table of a gigabyte is a list of 1,000 extents, which takes a millisecond to read."""


class PointContents:
    """A point's files by number; see `lazy.Contents`.

    Args:
        view: The point.
        report: Told which file could not be read, and why; each file once.
    """

    def __init__(self, view: PointView, report: Callable[[int, JbackupdError], None]) -> None:
        self._view = view
        self._report = report
        self._files: OrderedDict[int, FileView] = OrderedDict()
        self._lock = threading.Lock()
        self._reported: set[int] = set()

    def read(self, number: int, offset: int, length: int) -> bytes:
        """Return bytes of a file.

        Raises:
            OSError: EIO: they are damaged, or not to be had now.
        """
        try:
            return self._file(number).read(offset, length)
        except JbackupdError as error:
            with self._lock:
                is_new = number not in self._reported
                self._reported.add(number)
            if is_new:
                self._report(number, error)
            raise OSError(errno.EIO, os.strerror(errno.EIO)) from error

    def _file(self, number: int) -> FileView:
        with self._lock:
            file = self._files.get(number)
            if file is None:
                file = self._files[number] = self._view.open_number(number)
                if len(self._files) > FILES_MAX:
                    self._files.popitem(last=False)
            else:
                self._files.move_to_end(number)
            return file
