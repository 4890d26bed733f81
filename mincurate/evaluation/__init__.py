"""Whether generated images help: metrics, the gate, a plain baseline, a verdict."""
