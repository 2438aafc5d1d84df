"""Adversarial training as functions of a critic: objectives, penalties, augmentation, a pool; and what a generator's styles are
searched for: an image, directions. No network is known here."""
