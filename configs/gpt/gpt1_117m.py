"""GPT-1, 117M parameters (Radford et al., 2018): post-norm, learned positions, 512 tokens.

    python train.py --config=configs/gpt/gpt1_117m.py --workdir=runs/gpt1 --config.data.path=TEXT.jsonl

Hardware: 8 chips of 16 GB. Published: perplexity 18.4 on BooksCorpus (section 4.1). Not measured here."""

from pretraining import recipe


def get_config():
    return recipe(
        "gpt1_117m",
        sequence_length=512,
        batch_size=64,
        peak_lr=2.5e-4,
        steps=1_200_000,
        tokenizer={"name": "bpe", "vocab_size": 40478},
        dropout=0.1,
    )
