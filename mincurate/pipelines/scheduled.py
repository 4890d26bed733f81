"""Operations that the App schedules: FiftyOne's delegated operations, and their processes."""

from typing import Any

from mincurate.dataset import worker

ACTIVE = ("scheduled", "queued", "running")
"""States of an operation that has not ended."""


def schedule(uri: str, label: str, request: dict[str, Any], params: dict[str, Any]) -> str:
    """Schedule an operation and start a process for it, which outlives the App's own.

    Args:
        uri: of the operator.
        label: name of the operation.
        request: what the App sent.
        params: the inputs of the form.

    Returns:
        The id of the operation.
    """
    service = worker.service()
    operation = service.queue_operation(
        operator=uri,
        label=label,
        context={"request_params": request, "params": params},
        metadata={"inputs_schema": None, "outputs_schema": None},
    )
    key = str(operation.id)
    try:
        worker.start(key)
    except OSError as error:
        _end(operation.id, str(error))
        raise
    return key


def operations(dataset: Any, prefix: str) -> list[Any]:
    """Operations of a dataset whose operator's URI starts with ``prefix``, last scheduled first."""
    from fiftyone.factory import DelegatedOperationPagingParams

    listed = worker.service().list_operations(
        dataset_id=dataset._doc.id, paging=DelegatedOperationPagingParams(limit=50)
    )
    return [operation for operation in listed if operation.operator.startswith(prefix)]


def stop(operation: Any, reason: str) -> None:
    """Mark an operation as failed: it does not start, or stops where it next looks."""
    _end(operation.id, reason)


def stopped(operation_id: Any) -> bool:
    """Whether the database says that a running operation shall stop."""
    return bool(worker.service().get(operation_id).run_state == "failed")


def stopping() -> bool:
    """Whether this process was asked to stop what runs in it, as by Ctrl-C."""
    return worker.STOPPING.is_set()


def _end(operation_id: Any, reason: str) -> None:
    from fiftyone.operators.executor import ExecutionResult

    worker.service().set_failed(operation_id, result=ExecutionResult(error=reason))
