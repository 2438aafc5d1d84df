"""CLIP ViT-L/14 at batch 32,768 (Radford et al., 2021), on 64 TPU v5p chips.

    python train.py --config=configs/clip/clip_l14.py --workdir=runs/clip_l14 --config.data.path=PAIRS.zip \
        --config.data.tokenizer.path=FOLDER_WITH_TOKENIZER_JSON
    python train.py --config=configs/clip/clip_l14.py --compile_only --topology=v5p:4x4x4

Compiled for v5p:4x4x4, see benchmarks/RESULTS.md; not trained here."""

from clip_pretraining import recipe


def get_config():
    return recipe("clip_l14", batch_size=32_768, peak_lr=4e-4, b2=0.98, data=-1, fsdp=8)
