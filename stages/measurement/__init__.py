"""Predictions, accuracy, time, and the machine they were taken on."""
