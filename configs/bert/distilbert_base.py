"""DistilBERT-base, uncased (Sanh et al., 2019), trained on masked words alone, without its teacher.

    python train.py --config=configs/bert/distilbert_base.py --workdir=runs/distilbert --config.data.path=TEXT.jsonl \
        --config.train.init_from=distilbert-base-uncased --config.data.tokenizer.path=distilbert-base-uncased

Hardware: 8 accelerators of 16 GB. Not measured here.
"""

from bert_base import get_config as bert_base


def get_config():
    config = bert_base()
    config.task.network = "distilbert"
    config.task.model.size = "distilbert_base_uncased"
    return config
