"""What the recipes for StyleGAN2 share: how often lazy penalties come, and optimizers and averages. Not a config by itself."""

R1_EVERY, PATH_LENGTH_EVERY = 16, 4


def optimizers(peak_lr: float) -> dict[str, dict]:
    """The sections of both players."""
    return {
        "generator_optimizer": lazy_adam(peak_lr, PATH_LENGTH_EVERY),
        "discriminator_optimizer": lazy_adam(peak_lr, R1_EVERY),
    }


def lazy_adam(peak_lr: float, every: int) -> dict:
    """Adam for a player that also has a penalty every so many steps: corrected as if it came on each (StyleGAN2, appendix B)."""
    share = every / (every + 1)
    return {"name": "adam", "schedule": "constant", "peak_lr": peak_lr * share, "b1": 0.0, "b2": 0.99**share}


def forgets_half_in(images: int, batch_size: int) -> float:
    """The decay of an average that is moved once a batch."""
    return 0.5 ** (batch_size / images)
