"""Images from strangers: found, labelled, identified and decoded, within limits."""
