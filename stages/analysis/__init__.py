"""The collapse taken apart: models that differ in one factor, and the error by layer."""
