"""Programs that measure what the README or docs claim, or make what is measured; run by hand.

Those that time something want a quiet machine.
"""
