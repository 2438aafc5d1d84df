"""Published sizes of BERT and of ViT, as configurations.

Parameter counts are those of the published checkpoints: of BERT's encoder with its pooler (`BertModel`), of ViT with a head for
1,000 classes.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from genjax.models.bert import BertConfig
from genjax.models.vit import ViTConfig

_BERT = BertConfig(masked_lm=False, pooler=True)
_VIT = ViTConfig()

BERT_SIZES: Mapping[str, BertConfig] = MappingProxyType(
    {
        # Devlin et al., 2019. 109,482,240 · 335,141,888 · 108,310,272 · 333,579,264.
        "bert_base_uncased": _BERT,
        "bert_large_uncased": replace(_BERT, num_layers=24, num_heads=16, embed_dim=1024),
        "bert_base_cased": replace(_BERT, vocab_size=28996),
        "bert_large_cased": replace(_BERT, vocab_size=28996, num_layers=24, num_heads=16, embed_dim=1024),
        # Turc et al., 2019. 4,385,920 · 11,170,560 · 28,763,648 · 41,373,184.
        "bert_tiny": replace(_BERT, num_layers=2, num_heads=2, embed_dim=128),
        "bert_mini": replace(_BERT, num_layers=4, num_heads=4, embed_dim=256),
        "bert_small": replace(_BERT, num_layers=4, num_heads=8, embed_dim=512),
        "bert_medium": replace(_BERT, num_layers=8, num_heads=8, embed_dim=512),
        # Wang et al., 2020: the encoder of the sentence embeddings all-MiniLM-L6-v2. 22,713,216.
        "minilm_l6": replace(_BERT, num_layers=6, embed_dim=384),
    }
)

VIT_SIZES: Mapping[str, ViTConfig] = MappingProxyType(
    {
        # Dosovitskiy et al., 2021, table 1. 86,567,656 · 88,224,232 · 304,326,632 · 306,535,400 · 632,045,800.
        "vit_b16": _VIT,
        "vit_b32": replace(_VIT, patch_size=32),
        "vit_l16": replace(_VIT, num_layers=24, num_heads=16, embed_dim=1024),
        "vit_l32": replace(_VIT, num_layers=24, num_heads=16, embed_dim=1024, patch_size=32),
        "vit_h14": replace(_VIT, num_layers=32, num_heads=16, embed_dim=1280, patch_size=14),
        # Touvron et al., 2021 (DeiT, undistilled). 5,717,416 · 22,050,664.
        "vit_ti16": replace(_VIT, num_heads=3, embed_dim=192),
        "vit_s16": replace(_VIT, num_heads=6, embed_dim=384),
    }
)
