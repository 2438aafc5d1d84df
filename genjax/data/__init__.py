"""Sources, tokenizers, packing and the addressable pipeline."""
