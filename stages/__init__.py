"""The pipeline's stages and commands, one module each, and the concerns they call."""
