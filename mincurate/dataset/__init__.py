"""Everything that knows FiftyOne."""
