"""A process that counts up a number in a volume file, or holds a lock until it is killed.

hammer.py count STORE UUID TURNS        writes nothing
hammer.py hold STORE UUID               writes "held" and waits for its end
"""

import sys
from pathlib import Path
from uuid import UUID

sys.path.insert(0, str(Path(__file__).parents[1]))

from contract.lock_contract import SIZE, count_up
from contract.stacks import Kept, Stack
from drivebay.storage.file import FileStore


def main() -> None:
    verb, path, uuid, *rest = sys.argv[1:]
    kept = Kept(Stack(FileStore("kept-here", "shelf-1", Path(path))), UUID(uuid), SIZE)
    if verb == "count":
        count_up(kept, at=0, span=(0, 8), turns=int(rest[0]))
        return
    with kept.open() as volume, volume.locked(0, SIZE, shared=False):
        sys.stdout.write("held\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
