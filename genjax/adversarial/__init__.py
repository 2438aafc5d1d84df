"""Adversarial training as functions of a critic: objectives, penalties, augmentation, a pool. No network is known here."""
