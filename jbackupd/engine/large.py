"""What has versions of its own: large files, and the tree."""

from __future__ import annotations

LARGE_BYTES = 1024 * 1024
"""From here on a file has frames of its own, and anchors; below, files share frames and an earlier
version is taken whole."""
TREE_PATH = b""
"""The tree stream's name among a dataset's versions; no file has it."""
