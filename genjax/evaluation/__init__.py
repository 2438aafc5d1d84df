"""Scores of models and of what they write."""
