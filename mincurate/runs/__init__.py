"""A run on disk: its record, its files, and what makes it resumable."""
