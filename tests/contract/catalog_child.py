"""A process that works with a catalog beside its test.

catalog_child.py URL fill USER          makes drives until the user's quota is used up, writes how many
catalog_child.py URL linger KEY VALUE   puts a fact, writes "written" and waits for its end
catalog_child.py URL migrate            migrates
"""

import sys
from pathlib import Path
from uuid import UUID

sys.path.insert(0, str(Path(__file__).parents[1]))

from contract.rows import add_drive
from drivebay.catalog import Catalog, drives, facts, users


def fill(catalog: Catalog, uuid: UUID) -> int:
    made = 0
    while True:
        with catalog.write() as tx:
            users.lock(tx, uuid)
            user = users.get(tx, uuid)
            if drives.usage(tx, uuid).drives >= user.quota_drives:
                return made
            add_drive(tx, uuid)
            made += 1


def main() -> None:
    url, verb, *words = sys.argv[1:]
    catalog = Catalog(url)
    match verb:
        case "fill":
            sys.stdout.write(f"{fill(catalog, UUID(words[0]))}\n")
        case "linger":
            with catalog.write() as tx:
                facts.put(tx, words[0], words[1])
                sys.stdout.write("written\n")
                sys.stdout.flush()
                sys.stdin.read()
        case "migrate":
            catalog.migrate()


if __name__ == "__main__":
    main()
