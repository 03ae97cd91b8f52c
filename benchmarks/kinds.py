"""The kinds of data that are measured, and what decides the figures of each. Loads nothing: the runner stays small."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of data.

    Attributes:
        name: Its maker's name in `workloads`.
        limits: What decides the figures of this kind, in a sentence or two.
    """

    name: str
    title: str
    limits: str


KINDS = (
    Kind(
        "register", "Register: a PostgreSQL dump; 1 % of the rows updated, 0.2 % inserted, 0.1 % deleted a day",
        "Changed rows are everywhere, so nearly every chunk of any size holds one: chunking alone sends most of "
        "the file again. What a delta sends is the changed rows, and where each of them is.",
    ),
    Kind(
        "extract", "Extract: the demo town's CSV in cp932; 1 % of the residents changed a day",
        "As the register, but rows stay where they are. Such a file is small next to what any run costs: starting, "
        "and writing key, index, tree and point.",
    ),
    Kind(
        "image", "Disk image: 1 to 3 % of its 4 KiB blocks changed a day",
        "Half of the changed blocks are wholly new, half of those incompressible: nobody can save these bytes. "
        "Blocks that changed a little are what a delta saves and chunking does not.",
    ),
    Kind(
        "office", "Office tree: 2 % of the files edited, 0.5 % added a day; on day 2 a department is renamed",
        "Edited documents are zipped: behind the edit every byte differs, for a delta too, and new pictures are "
        "incompressible. Files that did not change cost no bytes with any of the programs, so they differ little.",
    ),
    Kind(
        "noise", "Noise: incompressible; 1 % replaced in stretches of 4 to 256 KiB, 0.1 % appended a day",
        "The changed bytes themselves, 1.1 % of the file, are the floor. Small chunks come near to it; large "
        "chunks send what surrounds every change.",
    ),
)
