"""What a run leaves on disk (checkpoints, their checksums, snapshots of averages), and reading variables back onto any mesh."""
