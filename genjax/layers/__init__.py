"""What models are made of: attention, projections, norms, embeddings, positions."""
