"""Device meshes, logical-axis rules and process helpers."""
