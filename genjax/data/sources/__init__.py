"""Where text comes from: files, JSON lines, TFDS, the standard library."""
