"""Tokenizers, one kind a file, behind the protocol of `base.Tokenizer`."""
