"""Classifiers: building, weights, preprocessing, checkpoints."""
