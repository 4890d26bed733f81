"""What every benchmark's JSON says of where it comes from."""

import os
import platform
import sys
from datetime import UTC, datetime


def provenance(*more: object) -> dict[str, str]:
    """Command, machine (and ``more`` of it, such as the device) and day."""
    machine = [platform.machine(), f"{os.cpu_count()} cores", *map(str, more)]
    return {
        "command": " ".join(sys.argv),
        "machine": ", ".join(machine),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
