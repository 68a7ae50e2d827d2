"""Parameters of the pipeline and the frame every stage runs in."""
