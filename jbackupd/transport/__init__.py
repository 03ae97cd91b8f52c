"""The link over SSH: dialling and listening with pinned keys, carrying protocol/."""
