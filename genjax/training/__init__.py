"""The train loop."""
