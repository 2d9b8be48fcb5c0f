"""Several stores: failure domains, and what happens when one is not there."""

from pathlib import Path

import pytest

from live import Server


@pytest.fixture
def two_disks(tmp_path):
    """A service over two stores in different failure domains, and one more beside the first."""
    config = tmp_path / "drivebay.toml"
    entries = [("one", "left"), ("two", "left"), ("three", "right")]
    config.write_text(
        "\n".join(
            f'[[serve.stores]]\nname = "{name}"\npath = "{tmp_path / name}"\ndomain = "{domain}"'
            for name, domain in entries
        )
    )
    server = Server(tmp_path / "server", workers=1, options=["--config", str(config)])
    try:
        yield server.start()
    finally:
        server.close()


def domain_of(server: Server, drive: str) -> str:
    return server.api("GET", f"/drives/{drive}/info/full").record["store:domain"]


def test_avoid_places_a_drive_in_another_failure_domain(two_disks):
    first = two_disks.create()

    others = [two_disks.create(f"size 1M\navoid {first}") for _ in range(5)]

    assert {domain_of(two_disks, drive) for drive in others} == {"left", "right"} - {
        domain_of(two_disks, first)
    }


def test_avoid_is_507_when_no_domain_is_left(two_disks):
    first = two_disks.create()
    second = two_disks.create(f"size 1M\navoid {first}")
    before = two_disks.api("GET", "/drives/list").text

    answer = two_disks.api("POST", "/drives/create", f"size 1M\navoid {first} {second}")

    assert answer.status == 507
    assert two_disks.api("GET", "/drives/list").text == before


def test_a_drive_whose_store_is_gone_is_inactive_and_comes_back_with_it(two_disks, tmp_path):
    drive = two_disks.create()
    assert two_disks.api("POST", f"/drives/{drive}/write", b"content").status == 204
    store = two_disks.api("GET", f"/drives/{drive}/info/full").record["store"]
    away = tmp_path / "unmounted"
    (tmp_path / store).rename(away)

    assert two_disks.api("GET", f"/drives/{drive}/info").record["status"] == "inactive"
    assert two_disks.api("GET", f"/drives/{drive}/read/0/7").status == 500
    assert two_disks.api("POST", f"/drives/{drive}/write", b"x").status == 500
    # An empty folder in its place, such as an unmounted mount point, is not the store.
    (tmp_path / store).mkdir()
    two_disks.stop()
    two_disks.start()
    assert two_disks.api("GET", f"/drives/{drive}/info").record["status"] == "inactive"
    new = [two_disks.create() for _ in range(3)]
    stores = {two_disks.api("GET", f"/drives/{uuid}/info/full").record["store"] for uuid in new}
    assert store not in stores

    (tmp_path / store).rmdir()
    away.rename(tmp_path / store)

    assert two_disks.api("GET", f"/drives/{drive}/info").record["status"] == "active"
    assert two_disks.api("GET", f"/drives/{drive}/read/0/7").body == b"content"


def test_a_volume_that_is_missing_or_cut_makes_its_drive_inactive(make_server):
    server = make_server(workers=1)
    drive, cut = server.create(), server.create()
    volumes = Path(server.data / "stores/default")
    (volumes / f"{drive}.volume").unlink()
    with (volumes / f"{cut}.volume").open("r+b") as file:
        file.truncate(4096)

    assert server.api("GET", f"/drives/{drive}/info").record["status"] == "inactive"
    assert server.api("GET", f"/drives/{drive}/read/0/1").status == 500
    assert server.api("GET", f"/drives/{cut}/info").record["status"] == "inactive"
    assert server.api("GET", f"/drives/{cut}/read/0/1").status == 500


def test_a_store_of_another_data_folder_is_refused(make_server, tmp_path):
    server = make_server(workers=1)
    config = tmp_path / "stolen.toml"
    config.write_text(
        f'[[serve.stores]]\nname = "default"\npath = "{server.data}/stores/default"\n'
    )
    thief = Server(tmp_path / "thief", workers=1, options=["--config", str(config)])

    with pytest.raises(AssertionError, match="store of another data folder"):
        thief.start()
    thief.close()
