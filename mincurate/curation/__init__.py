"""Plans to rebalance, what is exported, what was reviewed."""
