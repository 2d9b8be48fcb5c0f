"""A data folder of an older release is taken over, with all that is in it."""

import sqlite3
from contextlib import closing
from uuid import uuid4

from drivebay.catalog.migrations import HEAD


def test_a_folder_from_before_claims_keeps_its_drives_and_takes_claims(make_server):
    server = make_server(workers=1)
    owner = server.add_user("alice")
    drive = server.create("size 1M\nname web\nuser:note kept", user=owner)
    content = bytes(range(256)) * 4096
    assert server.api("POST", f"/drives/{drive}/write", content, user=owner).status == 204
    before = server.api("GET", f"/drives/{drive}/info/full", user=owner).text
    assert server.stop() == 0
    with closing(sqlite3.connect(server.data / "catalog.sqlite")) as catalog, catalog:
        assert catalog.execute("SELECT version_num FROM alembic_version").fetchone() == (HEAD,)
        catalog.execute("DROP TABLE claims")
        catalog.execute("UPDATE alembic_version SET version_num = '0001'")

    server.start()

    assert server.api("GET", f"/drives/{drive}/info/full", user=owner).text == before
    assert server.api("GET", f"/drives/{drive}/read/0/1M", user=owner).body == content
    holder = str(uuid4())
    claimed = server.api("POST", f"/drives/{drive}/claim/{holder}", user=owner)
    assert (claimed.status, claimed.record["claimed"]) == (200, holder)
    assert server.api("POST", f"/drives/{drive}/release/{holder}", user=owner).status == 204
    assert server.api("POST", f"/drives/{drive}/destroy", user=owner).status == 204
    assert server.stop() == 0
