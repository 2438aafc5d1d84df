"""The sample loop: requests to artifacts."""
