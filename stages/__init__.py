"""The pipeline's stages, one module each, and the concerns they call."""
