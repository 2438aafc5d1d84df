"""CLIP ViT-B/32 at batch 32,768 (Radford et al., 2021).

    python train.py --config=configs/clip/clip_b32.py --workdir=runs/clip_b32 --config.data.path=PAIRS.zip \
        --config.data.tokenizer.path=FOLDER_WITH_TOKENIZER_JSON

Hardware: an accelerator with room for the batch; on fewer devices, --config.data.batch_size. Published (zero-shot accuracy on
ImageNet, the same paper's table 11): 63.2 %; not trained here."""

from clip_pretraining import recipe


def get_config():
    return recipe("clip_b32", batch_size=32_768, peak_lr=5e-4, b2=0.98)
