"""Measures of generated images, on the features that a network gives of them."""
