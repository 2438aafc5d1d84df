"""Checkpoints that people already have, both ways."""
