"""Minority guidance: a classifier of the classes, its gradient, and the samplers."""
