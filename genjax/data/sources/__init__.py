"""Where texts, images and sounds come from: files, archives, JSON lines, TFDS, the standard library."""
