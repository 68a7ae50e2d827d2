"""Accuracy and time, with how sure they are, and the machine they were taken on."""
