"""Network families: arrays in, arrays out."""
