"""Rebalancing, review and export of real and generated images."""
