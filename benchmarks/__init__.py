"""Programs that measure; each prints a table and keeps its raw data under docs/."""
