import numpy as np
import pytest

from mincurate.ranking import outliers, reliability

GOOD = {"denoising_gain": 2.0, "spearman_complexity": 0.1, "rank_stability": 0.95}


def judged(numbers, rank_by="embedding", weak=False, images=1000, minutes=None, **options):
    return reliability.judge(
        numbers, rank_by=rank_by, weak_embedding=weak, images=images, minutes=minutes, **options
    )


@pytest.mark.parametrize(
    ("agreement", "level"), [(0.3, "weak"), (0.5, "fair"), (0.57, "fair"), (0.6, "strong")]
)
def test_a_ranking_by_vectors_is_as_good_as_its_halves_agree(agreement, level):
    trust = judged({"tail_agreement": agreement})
    assert trust.level == level and f"{agreement:.0%}" in trust.why
    assert trust.words.startswith(f"{level}: ")


@pytest.mark.parametrize(
    ("change", "what_to_do"),
    [
        ({"denoising_gain": 1.0}, "Train it longer"),
        ({"spearman_complexity": -0.8}, "Rank by the embedding"),
        ({"rank_stability": 0.5}, "--n-draws"),
    ],
)
def test_what_speaks_against_a_score_is_said_with_what_to_do(change, what_to_do):
    trust = judged(GOOD | change, rank_by="minority")
    assert trust.level == "weak" and what_to_do in trust.better


def test_a_score_against_which_nothing_speaks_is_fair():
    assert judged(GOOD, rank_by="minority").level == "fair"


def test_a_model_that_was_trained_for_minutes_makes_no_ranking_by_itself():
    trust = judged(GOOD, rank_by="minority", minutes=10.2)
    assert trust.level == "weak" and "trained for 10 minutes" in trust.why
    assert judged(GOOD, rank_by="minority", minutes=90).level == "fair"


def test_a_weak_embedding_makes_no_ranking_by_vectors_strong():
    trust = judged({"tail_agreement": 0.9}, weak=True)
    assert trust.level == "weak" and "--embedding" in trust.better


@pytest.mark.parametrize(
    ("discs", "agreement", "level", "why"),
    [
        (0.99, 0.7, "strong", "above 99% of the others"),
        (0.85, 0.7, "fair", "above 85% of the others"),
        (0.6, 0.9, "weak", "above 60% of the others"),
        (0.99, 0.5, "fair", "share 50%"),
        (0.85, 0.3, "weak", "share 30%"),
    ],
)
def test_a_ranking_of_tiles_is_as_good_as_drawn_discs_are_found(discs, agreement, level, why):
    """Kinds of tiles, such as the places of aligned pictures, speak against nothing."""
    trust = judged({"tail_agreement": agreement, "discs_found": discs, "kind_stability": 0.8})
    assert trust.level == level and why in trust.why


@pytest.mark.parametrize(
    ("stability", "factor", "agreement", "level"),
    [
        (0.1, 1.1, 0.7, "strong"),
        (0.4, 1.1, 0.9, "weak"),
        (0.4, 1.15, 0.9, "fair"),
        (0.4, 1.2, 0.9, "strong"),
        (0.4, 1.2, 0.5, "fair"),
        (0.4, 1.2, 0.3, "weak"),
    ],
)
def test_among_several_kinds_the_rarest_must_stand_out_from_their_own(
    stability, factor, agreement, level
):
    """And a ranking by small kinds is never trusted."""
    numbers = {"tail_agreement": agreement, "kind_stability": stability, "standing_out": factor}
    trust = judged(numbers)
    assert trust.level == level
    assert judged(numbers, rare_are="small_kind").level == "weak"
    if agreement == 0.9 and level != "strong":
        assert f"{factor:.2f}" in trust.why and "--within-label" in trust.better


def test_images_that_lie_thinly_for_their_neighbours_stand_out():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(500, 16)).astype(np.float32)
    rows = np.arange(500)
    even = outliers.standing_out(outliers.neighborhood(vectors, vectors, rows)[1])
    vectors[:25] *= 2
    uneven = outliers.standing_out(outliers.neighborhood(vectors, vectors, rows)[1])
    assert 1 < even < 1.3 * even < uneven


@pytest.mark.parametrize(
    ("rare", "missed", "level"), [(2, 0, "strong"), (2, 1, "fair"), (2, 2, "weak")]
)
def test_a_ranking_that_misses_rare_labels_is_not_strong(rare, missed, level):
    trust = judged({"tail_agreement": 0.9, "rare_labels": rare, "missed_labels": missed})
    assert trust.level == level


@pytest.mark.parametrize(
    ("found", "missed", "level"), [(0.95, 0, "fair"), (0.95, 1, "weak"), (0.7, 0, "weak")]
)
@pytest.mark.parametrize("weak", [False, True])
def test_a_ranking_that_finds_the_rare_labels_is_fair(found, missed, level, weak):
    numbers = {"tail_agreement": 0.3, "rare_labels": 2, "rare_labels_found": found}
    assert judged(numbers | {"missed_labels": missed}, weak=weak).level == level


def test_few_images_are_never_strong():
    assert judged({"tail_agreement": 0.9}, images=100).level == "fair"


@pytest.mark.parametrize(
    ("agreement", "weak", "images", "what_to_do"),
    [
        (0.9, False, 1000, "Nothing more is needed"),
        (0.5, False, 1000, "more similar images (--embedding)"),
        (0.3, False, 1000, "more similar images (--embedding)"),
        (0.9, False, 100, "Score more"),
        (0.5, False, 100, "Score more"),
        (0.3, False, 100, "Score more"),
        (0.3, True, 1000, "--embedding torchvision:"),
        (0.3, True, 100, "--embedding torchvision:"),
    ],
)
def test_what_would_help_a_ranking_by_vectors_is_what_it_lacks(agreement, weak, images, what_to_do):
    assert what_to_do in judged({"tail_agreement": agreement}, weak=weak, images=images).better


def test_too_few_images_to_compare_halves_call_for_more():
    trust = judged({}, images=20)
    assert trust.level == "weak" and "Score more" in trust.better


def test_halves_agree_on_a_group_that_differs_in_every_feature_and_not_on_noise():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(500, 64)).astype(np.float32)
    group = noise.copy()
    group[:40] += 2
    rows = np.arange(500)
    assert outliers.tail_agreement(group, rows) > 0.6
    assert outliers.tail_agreement(noise, rows) < 0.3
