"""The other side of benchmarks/diffusion.py: diffusers on torch, as a worker, and what both sides read."""

import argparse

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DModel

SIZE, STEPS = 32, 20  # pixels; of DDIM
BATCHES = {"forward": 16, "train": 16, "sample": 16}


def inputs(batch: int) -> dict[str, np.ndarray]:
    """Images in [-1, 1] as [batch height width channels], noise for them, timesteps."""
    rng = np.random.default_rng(1)
    image, noise = (rng.normal(size=(batch, SIZE, SIZE, 3)).astype(np.float32) for _ in range(2))
    return {"image": np.clip(0.5 * image, -1, 1), "noise": noise, "times": rng.integers(0, 1000, batch)}


def build() -> UNet2DModel:
    """DDPM's layout at half its width and depth, 4.4M parameters, of random weights, without dropout."""
    return UNet2DModel(
        sample_size=SIZE,
        block_out_channels=(64, 128, 128),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=None,
        norm_num_groups=32,
    )


def torch_images(values: np.ndarray) -> torch.Tensor:
    return torch.tensor(values).permute(0, 3, 1, 2).contiguous()


def make_step(kind: str, model: UNet2DModel, batch: int, compiled: bool):
    given = inputs(batch)
    image, noise, times = torch_images(given["image"]), torch_images(given["noise"]), torch.tensor(given["times"])
    scheduler = DDIMScheduler(timestep_spacing="trailing")
    forward = torch.compile(model) if compiled else model
    if kind == "train":
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            said = forward(scheduler.add_noise(image, noise, times), times).sample
            torch.nn.functional.mse_loss(said, noise).backward()
            optimizer.step()

        return step
    model.eval()
    if kind == "forward":

        @torch.no_grad()
        def step() -> None:
            forward(image, times)

        return step
    scheduler.set_timesteps(STEPS)

    @torch.no_grad()
    def step() -> None:
        x = noise
        for time in scheduler.timesteps:
            x = scheduler.step(forward(x, time).sample, time, x).prev_sample

    return step


if __name__ == "__main__":
    from ab import serve

    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=list(BATCHES))
    parser.add_argument("--weights", required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    step = make_step(options.kind, UNet2DModel.from_pretrained(options.weights), options.batch, options.compile)
    for _ in range(2):
        step()
    serve(step)
