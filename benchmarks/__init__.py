"""Programs that measure what the README or docs claim; run by hand on a quiet machine."""
