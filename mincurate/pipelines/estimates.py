"""How long something takes, by the rates of earlier runs: nothing is loaded or measured."""

from mincurate.curation import gather
from mincurate.generation.training_time import last_guidance
from mincurate.progress import about
from mincurate.runs import store
from mincurate.runs.store import Run


def rate(kind: str, prefer: Run | None = None) -> tuple[float, Run] | None:
    """Images per second of the run ``prefer``, or of the last run of its kind that has a rate."""
    runs = [run for run in reversed(store.all_runs()) if store.kind_of(run) == kind]
    for run in [*([prefer] if prefer else []), *runs]:
        speed = run.record.get("images_per_second")
        if speed:
            return float(speed), run
    return None


def spares_draws(n_draws: int, num_classes: int, within_label: bool) -> bool:
    """Whether ``adaptive`` can spare draws: K has two pairs, and all images share one edge."""
    return n_draws >= 4 and num_classes >= 2 and not within_label


def scoring(n: int, *, n_draws: int | None = None, like: Run | None = None) -> float | None:
    """Seconds of scoring ``n`` images, or ``None`` where no run has a rate.

    Args:
        n_draws: draws per image; by default those of the run whose rate is used.
        like: the run whose model and settings will be used.
    """
    last = rate(store.SCORE, like)
    if last is None:
        return None
    speed, run = last
    planned = int((run.record.get("settings") or {}).get("n_draws") or 1)
    before = float((run.record.get("diagnostics") or {}).get("draws_per_image") or planned)
    return n / speed * (n_draws or before) / before


def generating(n: int, *, steps: int, scored: Run) -> float | None:
    """Seconds of generating, scoring and inspecting ``n`` images, or ``None`` without a rate.

    Without the trainings, which happen once for a scored run: see `trained`.
    """
    generations = gather.generations(scored)
    last = rate(store.AUGMENT, generations[-1] if generations else None)
    inspecting = scoring(n, like=scored)
    if last is None or inspecting is None:
        return None
    speed, run = last
    before = int((run.record.get("settings") or {}).get("steps") or steps)
    return n / speed * steps / before + inspecting


def trained(scored: Run) -> bool:
    """Whether the networks that generate for a run have been trained."""
    return bool(last_guidance(scored))


def words(seconds: float | None) -> str:
    """A time as part of a sentence."""
    if seconds is None:
        return "no earlier run shows how long it takes"
    return f"{about(seconds)}, at the rate of the last run"
