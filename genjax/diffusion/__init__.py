"""Noise schedules, parameterizations, losses, samplers and guidance of diffusion models: functions of a denoiser, of no network.

Throughout, x_t = alpha_t x_0 + sigma_t noise, with x_0 the clean sample and noise from N(0, I); time runs from clean to noise.
"""
