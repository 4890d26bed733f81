"""Pages and pictures of a run, self-contained."""
