"""Summary, figures and tables, written from metrics alone."""
