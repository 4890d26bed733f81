"""The base class of the operators, and the parts of their forms."""

from collections.abc import Callable, Iterable
from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types
from fiftyone.operators.executor import ExecutionResult

from mincurate.errors import UserError

PLUGIN = "@mincurate/mincurate"


def from_app(ctx: Any) -> bool:
    """Whether the App called, now or when it scheduled the operation.

    It names the operator in its request; `fiftyone.operators.execute_operator` does not.
    """
    return "operator_uri" in ctx.request_params


def in_app(ctx: Any) -> bool:
    """Whether a user waits in the App, and not a Python program or a worker."""
    return from_app(ctx) and not ctx.delegated


class Formed(foo.Operator):
    """An operator whose form is filled in by `form`, or says why the operator cannot run."""

    NAME: str
    LABEL: str
    DESCRIPTION: str
    ICON = "diversity_2"
    DELEGATED = True
    UNLISTED = False
    SUBMIT = "Execute"

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists the operator."""
        return foo.OperatorConfig(
            name=self.NAME,
            label=f"mincurate: {self.LABEL}",
            description=self.DESCRIPTION,
            icon=self.ICON,
            dynamic=True,
            unlisted=self.UNLISTED,
            allow_immediate_execution=True,
            allow_delegated_execution=self.DELEGATED,
        )

    def form(self, ctx: Any, inputs: types.Object) -> None:
        """Fill in the form.

        Raises:
            UserError: the operator cannot run here; the form then shows only the message.
        """

    def resolve_input(self, ctx: Any) -> types.Property:
        """The form; the App asks for it after every change, and again before it runs."""
        inputs = types.Object()
        try:
            if ctx.dataset is None:
                raise UserError("Open a dataset first.")
            self.form(ctx, inputs)
        except UserError as error:
            inputs = types.Object()
            shown = inputs.view("refusal", types.Warning(label=str(error)))
            invalid(shown, str(error))
        view = types.PromptView(label=f"mincurate: {self.LABEL}", submit_button_label=self.SUBMIT)
        return types.Property(inputs, view=view)

    def resolve_run_name(self, ctx: Any) -> str:
        """The name of a scheduled run."""
        return f"mincurate: {self.LABEL}"

    def __call__(
        self,
        samples: Any,
        *,
        delegate: bool = False,
        selected: list[str] | None = None,
        **params: Any,
    ) -> Any:
        """Run it from Python.

        Args:
            samples: a dataset or a view.
            delegate: schedule it for a worker (`mincurate worker`) and return at once.
            selected: ids of the selected samples.
            params: the fields of the form, by name.

        Returns:
            The result of the operator; if scheduled, FiftyOne's record of the operation.
        """
        scope = "dataset" if samples is samples._root_dataset else "view"
        done = foo.execute_operator(
            self.uri,
            {scope: samples},
            params=params,
            selected=selected or [],
            request_delegation=delegate,
        )
        return done.result if isinstance(done, ExecutionResult) else done


def invalid(shown: types.Property, sentence: str | None) -> None:
    """Mark an input as invalid with an error message, so that the App does not run the operator."""
    if sentence:
        shown.invalid, shown.error_message = True, sentence


def try_out(shown: types.Property, check: Callable[[], Any]) -> Any:
    """The result of ``check``; if it raises a `UserError`, the input becomes `invalid`."""
    try:
        return check()
    except UserError as error:
        invalid(shown, str(error))
        return None


def notice(inputs: types.Object, name: str, text: str) -> None:
    """Add a line of information, such as the expected time."""
    inputs.view(name, types.Notice(label=text))


def choose(
    inputs: types.Object,
    name: str,
    choices: Iterable[tuple[str, str]],
    *,
    label: str,
    default: str | None = None,
    radio: bool = False,
    description: str | None = None,
) -> types.Property:
    """Add a choice between values, given as pairs of value and label."""
    view: Any = types.RadioGroup() if radio else types.DropdownView()
    for value, words in choices:
        view.add_choice(value, label=words)
    return inputs.enum(
        name, view.values(), label=label, default=default, view=view, description=description
    )


def value(ctx: Any, name: str, default: Any) -> Any:
    """The value of the field ``name``, or the default where it is empty or missing."""
    entered = ctx.params.get(name)
    return default if entered is None or entered == "" else entered
