"""What something would cost, told from the rates of earlier runs: nothing is loaded or measured."""

from mincurate.curation import gather
from mincurate.generation.budget import last_guidance
from mincurate.progress import about
from mincurate.runs import store
from mincurate.runs.store import Run


def rate(kind: str, prefer: Run | None = None) -> tuple[float, Run] | None:
    """Images a second of the run ``prefer``, or of the last run of its kind that has a rate."""
    known = [run for run in reversed(store.all_runs()) if store.kind_of(run) == kind]
    for run in [*([prefer] if prefer else []), *known]:
        found = run.record.get("images_per_second")
        if found:
            return float(found), run
    return None


def spares_draws(n_draws: int, num_classes: int, within_label: bool) -> bool:
    """Whether ``adaptive`` draws can spare any: K has two pairs, and one edge holds for all."""
    return n_draws >= 4 and num_classes >= 2 and not within_label


def scoring(n: int, *, n_draws: int | None = None, like: Run | None = None) -> float | None:
    """Seconds of scoring ``n`` images, or ``None`` where no run tells.

    Args:
        n_draws: draws per image; those of the run that is gone by when absent.
        like: the run whose model and settings are meant.
    """
    found = rate(store.SCORE, like)
    if found is None:
        return None
    speed, run = found
    planned = int((run.record.get("settings") or {}).get("n_draws") or 1)
    before = float((run.record.get("diagnostics") or {}).get("draws_per_image") or planned)
    return n / speed * (n_draws or before) / before


def generating(n: int, *, steps: int, scored: Run) -> float | None:
    """Seconds of generating, scoring and inspecting ``n`` images, or ``None`` where no run tells.

    Without the trainings, which happen once for a scored run: see `trained`.
    """
    of_its_own = gather.generations(scored)
    found = rate(store.AUGMENT, of_its_own[-1] if of_its_own else None)
    inspecting = scoring(n, like=scored)
    if found is None or inspecting is None:
        return None
    speed, run = found
    before = int((run.record.get("settings") or {}).get("steps") or steps)
    return n / speed * steps / before + inspecting


def trained(scored: Run) -> bool:
    """Whether what generates from a run was trained before."""
    return bool(last_guidance(scored))


def words(seconds: float | None) -> str:
    """A time as part of a sentence."""
    if seconds is None:
        return "no earlier run tells how long it takes"
    return f"{about(seconds)}, at the rate of the last run"
