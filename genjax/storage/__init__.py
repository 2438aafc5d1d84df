"""What a checkpoint is on disk: its table of leaves, their checksums, and reading variables back onto any mesh."""
