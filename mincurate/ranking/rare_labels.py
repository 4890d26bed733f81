"""What labels tell of a ranking: where the images of rare ones stand in it."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

SHARE = 0.5
"""A rare label has at most this share of the images of an average one."""
OF_A_LABEL = 10
"""Fewest images of a label that is looked for among the rare ones."""
FEWEST = 20
"""Fewest images of rare labels by which a ranking is chosen."""
CLEARLY = 0.7
"""By how much the AUROC of one ranking is above the other's when labels decide, times the square
root of the number of rare images: 1.7 standard errors of the difference of two AUROCs of 0.5."""


def rare(labels: pd.Series) -> pd.Series:
    """Images of every rare label, by name; ``labels`` are those of all images, some missing."""
    counts = labels.value_counts()
    return counts[counts <= SHARE * counts.mean()]


def choose(labels: pd.Series, rankings: pd.DataFrame) -> str | None:
    """The ranking by which images of rare labels clearly rank higher; ``None``: labels cannot say.

    Args:
        labels: ``(N,)``, some missing.
        rankings: ``(N, 2)``, with the same index; higher is rarer.
    """
    from sklearn.metrics import roc_auc_score

    known = labels.notna() & rankings.notna().all(axis=1)
    is_rare = labels[known].isin(rare(labels[known]).index)
    images = int(is_rare.sum())
    if images < FEWEST:
        return None
    aurocs = rankings[known].apply(lambda ranking: roc_auc_score(is_rare, ranking))
    clear = aurocs.max() - aurocs.min() >= CLEARLY / images**0.5
    return str(aurocs.idxmax()) if clear else None


def which_ranks(record: Mapping[str, Any]) -> str:
    """Which evidence of vectors ranks a run, and why, in words; empty where that is the usual one.

    Args:
        record: of the run.
    """
    settings = record.get("settings") or {}
    if settings.get("rank_by") != "embedding" or settings.get("within_label"):
        return ""
    small = record.get("rare_are") == "small_kind"
    if record.get("rare_are_by") == "labels":
        ranks, other = ("small kinds", "outlying") if small else ("outlying", "small kinds")
        return f"Ranked by {ranks}: rare labels rank higher by it than by {other}."
    return "Ranked by small kinds: what is outlying here is of large ones." if small else ""


def check(scored: pd.DataFrame) -> dict[str, float]:
    """What labels say of the ranking in force, as far as there are enough images of rare ones.

    ``rare_labels``, how many there are; ``missed_labels``, how many of these rank below the middle
    (AUROC below 0.5); ``rare_labels_found``, the AUROC of the images of all of them.
    """
    from sklearn.metrics import roc_auc_score

    labelled = scored[scored["label"].notna() & scored["rarity"].notna()]
    counts = rare(labelled["label"])
    names = counts[counts >= OF_A_LABEL].index
    if names.empty:
        return {}
    ranks = labelled["rarity"].rank().groupby(labelled["label"]).mean()[names]
    below = ranks < (len(labelled) + 1) / 2
    numbers = {"rare_labels": float(len(names)), "missed_labels": float(below.sum())}
    if counts.sum() >= FEWEST:
        is_rare = labelled["label"].isin(counts.index)
        numbers["rare_labels_found"] = float(roc_auc_score(is_rare, labelled["rarity"]))
    return numbers
