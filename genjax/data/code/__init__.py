"""Code as data: languages, licences, filters, duplicates, and the manifest of what was kept."""
