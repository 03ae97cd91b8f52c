"""Which site gave which bytes, and which is not asked for a pack any more. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from jbackupd.model.ids import ObjectName, SiteId
from jbackupd.vault.ranges import Range, Ranges

BLAMED_MAX = 2
"""So often wrong bytes of a pack may be this site's own disk's fault before the last site that has it is given up."""


class Givers:
    """Of each pack, who gave what since this process began, and who is refused."""

    def __init__(self) -> None:
        self._refused: defaultdict[ObjectName, frozenset[SiteId]] = defaultdict(frozenset)
        self._given: defaultdict[ObjectName, dict[SiteId, Ranges]] = defaultdict(dict)
        self._blamed: Counter[ObjectName] = Counter()

    def refused(self, pack: ObjectName) -> frozenset[SiteId]:
        """Return the sites that are not asked for a pack any more."""
        return self._refused[pack]

    def refuse(self, pack: ObjectName, sites: Iterable[SiteId]) -> None:
        """Let sites not be asked for a pack any more."""
        self._refused[pack] |= frozenset(sites)

    def gave(self, pack: ObjectName, site: SiteId, begin: int, end: int) -> None:
        """Note what came from where."""
        self._given[pack].setdefault(site, Ranges()).add(begin, end)

    def blame(self, pack: ObjectName, begin: int, end: int, sites: int) -> tuple[list[Range], frozenset[SiteId]]:
        """Judge a range that turned out wrong.

        What came in an earlier process may have gone wrong on the disk here; so may all else, if nobody else has it.

        Args:
            sites: How many may be asked at all.

        Returns:
            All that came from who gave it, to be thrown away; and who is to be refused now.
        """
        given = self._given[pack]
        givers = frozenset(site for site, ranges in given.items() if ranges.holes(begin, end) != [(begin, end)])
        is_explained = bool(givers & self.refused(pack))
        wrong = [span for site in givers for span in given.pop(site)]
        if is_explained:
            return wrong, frozenset()
        self._blamed[pack] += bool(givers)
        has_others = len(self.refused(pack) | givers) < sites
        # Of several whose bytes were joined one alone was wrong: the next time one alone is asked, most likely.
        is_guilty = (has_others and len(givers) == 1) or self._blamed[pack] >= BLAMED_MAX
        return wrong, givers if is_guilty else frozenset()
