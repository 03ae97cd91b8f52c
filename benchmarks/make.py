"""Make the days of a kind of data.

    python -m benchmarks.make MAKER FOLDER MEGABYTES DAYS

writes FOLDER/day0 .. dayN, each the whole data as it is on that day; makers of several kinds write FOLDER/PART/dayN.
The runner makes them in a process of its own: what a child inherits counts as its memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from benchmarks.makers import exports, files, image, office, pages, postgres

Make = Callable[[str, int, int], None]
"""Writes the days into a folder: folder, megabytes (about), number of days after the first."""

MAKERS: dict[str, Make] = {
    "deltas": files.make_deltas,
    "exports": exports.make_exports,
    "ext4": image.make_ext4,
    "files": files.make_files,
    "image": image.make_image,
    "moved": files.make_moved,
    "noise": files.make_noise,
    "office": office.make_office,
    "packed": files.make_packed,
    "pages": pages.make_pages,
    "postgres": postgres.make_postgres,
    "rotated": files.make_rotated,
    "twins": files.make_twins,
}


if __name__ == "__main__":
    MAKERS[sys.argv[1]](sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
