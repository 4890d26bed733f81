"""Names of the files and columns that a run leaves. See `docs/files.md`."""

SCORES, VECTORS = "scores.parquet", "embeddings.npy"
SYNTHETIC = "synthetic.parquet"
"""The table of generated images."""

RECORD = "run.json"
SEAL = "digests.json"
FLOAT_COLUMNS = (
    "minority_score",
    "minority_score_se",
    "rarity",
    "minority_percentile",
    "minority_percentile_low",
    "minority_percentile_high",
    "neighbor_distance",
    "embedding_rarity",
    "embedding_rarity_within_label",
    "crowd_distance",
    "outlier_factor",
    "deviation",
    "minority_score_calibrated",
    "complexity",
    "brightness",
    "contrast",
    "sharpness",
    "colorfulness",
    "hue",
    "map_x",
    "map_y",
)
OUTPUTS = (
    "scores.parquet",
    "scores.csv",
    "embeddings.npy",
    "embeddings.parquet",
    "joined.npz",
    "map.npz",
    "reconstructions.npz",
    "report.html",
    SEAL,
    RECORD,
)
GENERATED = (
    "manifest.jsonl",
    "synthetic.parquet",
    "synthetic.csv",
    "evaluation.json",
    "evaluation.csv",
    "evaluation.html",
)
"""Further files of a run that generates; its images lie in ``images``."""
