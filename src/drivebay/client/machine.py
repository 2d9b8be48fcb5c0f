"""Which server this machine is, where nobody says it."""

import socket
from pathlib import Path
from uuid import UUID, uuid5

# Ours alone, so that what is made of a machine's id cannot be matched with what others make of it;
# machine-id(5) asks that the id itself is not shown.
_NAMESPACE = UUID("79877e80-79fa-42d6-b0bc-0bbabf145b39")

_MACHINE_ID = Path("/etc/machine-id")
_MACHINE_ID_LENGTH = 32


def server_uuid(machine_id: Path = _MACHINE_ID) -> UUID:
    """Return the uuid that stands for this machine, the same each time.

    It is made of the machine's id, or of the host name where the file *machine_id* holds none.
    """
    try:
        text = machine_id.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        text = ""
    if len(text) == _MACHINE_ID_LENGTH and text.isalnum():
        return uuid5(_NAMESPACE, f"machine-id {text}")
    return uuid5(_NAMESPACE, f"host name {socket.gethostname()}")
