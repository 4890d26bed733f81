"""Which option has an effect where; one that has none is refused in a sentence."""

from typing import Any, NamedTuple

from mincurate.errors import UserError

GENERATED = "device precision workers batch-size ray seed dataset fiftyone fresh"
BUDGETS = "train-minutes train-steps guide-minutes guide-steps loss"
USES = {
    "score": "preset device precision workers batch-size ray seed dataset fiftyone fresh "
    "train-minutes train-steps",
    "score-new": "device workers batch-size dataset fiftyone",
    "retry": "device workers batch-size fiftyone",
    "train": "device workers ray seed train-minutes train-steps",
    "guide": f"preset device workers ray seed {BUDGETS}",
    "augment": f"preset {GENERATED} {BUDGETS}",
    "mine": "device workers batch-size dataset fiftyone fresh",
    "evaluate": "preset device fresh",
    "rebalance": f"device batch-size seed fiftyone yes {BUDGETS.removesuffix(' loss')}",
    "sync": "dataset",
    "runs delete": "fiftyone yes",
    "demo": "fiftyone train-steps",
}
"""The shared options that a command takes; commands that take none are left out."""


class Rule(NamedTuple):
    """``option`` has no effect together with ``other``, or without one of ``needs``.

    Options stand as they are typed: ``--no-fiftyone``, ``--init real``. The rule does not hold
    where one of ``unless`` is given.
    """

    option: str
    other: str = ""
    needs: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()


EVERYWHERE = (
    Rule("--train-minutes", "--train-steps"),
    Rule("--guide-minutes", "--guide-steps"),
    Rule("--dataset", "--no-fiftyone", unless=("--like",)),
)
TRAINED = (Rule("--train-minutes", "--model"), Rule("--train-steps", "--model"))
"""A given model is used as it is."""
ONE_SIZE = (Rule("--image-size", "--model"),)
"""A model has a size of its own."""
ON_RAY = (Rule("--workers", needs=("--ray",)),)
"""Generating decodes nothing."""
RULES = {
    "score": (
        *TRAINED,
        *ONE_SIZE,
        Rule("--embedding", "--vectors"),
        Rule("--label-field", "--no-labels"),
        Rule("--within-label", "--no-labels"),
    ),
    "train": (
        *ONE_SIZE,
        Rule("--sigma", "--all-levels"),
        Rule("--sigma", "--latent"),
        Rule("--scoring-level", "--latent"),
        Rule("--latent", "--model"),
        Rule("--lora", needs=("--model",)),
    ),
    "guide": (*TRAINED, *ON_RAY),
    "augment": (
        *TRAINED,
        *ON_RAY,
        Rule("--init", "--like"),
        Rule("--strength", needs=("--init real", "--like")),
    ),
    "rebalance": TRAINED,
}
"""What does not go together in one command."""


def check(ctx: Any) -> None:
    """Refuse options that would change nothing.

    Raises:
        UserError: names the option, and the command or option with which it has no effect.
    """
    name, root = name_of(ctx), ctx.find_root()
    useful = shared_parameters(root.command, name)
    for parameter in shared_parameters(root.command):
        option = typed(root, parameter)
        if option and parameter not in useful:
            raise UserError(f"{option} has no effect on mincurate {name}.")
    options = {
        option: context.params.get(parameter.name)
        for context in (root, ctx)
        for parameter in context.command.params
        if (option := typed(context, parameter))
    }
    on_the_line = {*options, *(f"{option} {value}" for option, value in options.items())}
    for rule in (*EVERYWHERE, *RULES.get(name, ())):
        if rule.option not in on_the_line or on_the_line.intersection(rule.unless):
            continue
        if rule.other in on_the_line:
            raise UserError(
                f"{rule.option} has no effect together with {rule.other}; leave one of them out."
            )
        if rule.needs and not on_the_line.intersection(rule.needs):
            raise UserError(f"{rule.option} has no effect without {' or '.join(rule.needs)}.")


def name_of(ctx: Any) -> str:
    """Name of a command below ``mincurate``: ``score``, ``runs delete``."""
    names: list[str] = []
    while ctx.parent is not None:
        names.insert(0, str(ctx.info_name))
        ctx = ctx.parent
    return " ".join(names)


def shared_parameters(group: Any, name: str | None = None) -> list[Any]:
    """The shared options, in the order of the help: all, or those of the command ``name``."""
    uses = " ".join(USES.values()) if name is None else USES.get(name, "")
    return [p for p in group.params if p.name in uses.replace("-", "_").split()]


def typed(ctx: Any, parameter: Any) -> str | None:
    """How an option stands on the command line (``--no-umap``); ``None`` where it does not."""
    source = ctx.get_parameter_source(parameter.name)
    if parameter.param_type_name != "option" or source is None or source.name != "COMMANDLINE":
        return None
    off = ctx.params.get(parameter.name) is False
    names = parameter.secondary_opts if off else parameter.opts
    return next((str(name) for name in names if name.startswith("--")), None)
