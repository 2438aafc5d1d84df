"""Code that models write: what can be said of it without running it, and what running it says."""
