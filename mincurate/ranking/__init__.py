"""The minority score, ordinal classes, the other evidence of rarity, and the table of a run."""
