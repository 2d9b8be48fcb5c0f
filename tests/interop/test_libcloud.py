"""apache-libcloud 3.7.0, the last release with drivers for this API, unchanged against the service.

`create_node` makes a drive, images a standard one onto it with `gunzip` and polls it to the end, all
in the driver's own code.  Then it asks for a server, which is not a drive service's to make: the
driver's own error ends the call there, with the drive ready.
"""

import gzip
import random

import pytest
from libcloud.common.types import InvalidCredsError
from libcloud.compute.base import NodeImage
from libcloud.compute.drivers.elasticstack import ElasticStackNodeSize
from libcloud.compute.providers import get_driver
from libcloud.compute.types import Provider

from drivebay.units import GIB, MIB

PROVIDERS = [Provider.ELASTICHOSTS, Provider.SERVERLOVE, Provider.SKALICLOUD]
CONTENT = random.Random(37).randbytes(3 * MIB) + bytes(5 * MIB) + b"the end of the system"


def driver_of(provider, server, user):
    """Point libcloud at the service as its users point it at another end point."""
    return get_driver(provider)(*user, secure=False, host=server.host, port=server.port)


def disk_of_a_gigabyte(driver) -> ElasticStackNodeSize:
    return ElasticStackNodeSize(
        id="s", name="s", cpu=1000, ram=512, disk=1, bandwidth=None, price=0, driver=driver
    )


@pytest.fixture(scope="module")
def standard(server):
    """A standard drive as providers kept them: a gzip stream, padded to a multiple of 4 MiB."""
    provider = server.add_user("provider")
    stream = gzip.compress(CONTENT, 6)
    drive = server.create(f"name Debian\nsize {-(-len(stream) // (4 * MIB)) * 4}M", user=provider)
    assert server.api("POST", f"/drives/{drive}/write", stream, user=provider).status == 204
    server.run("standard", "add", drive, "--gzip", "--rawsize", str(len(CONTENT)))
    yield drive
    server.run("standard", "remove", drive)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_driver_makes_a_drive_from_a_standard_image(server, owner, standard, provider):
    driver = driver_of(provider, server, owner)
    image = NodeImage(id=standard, name="Debian", driver=driver)

    with pytest.raises(Exception, match=r"^X-Elastic-Error: missing \(command not found\)$"):
        driver.create_node("web", disk_of_a_gigabyte(driver), image)

    (record,) = driver.connection.request("/drives/info").object
    assert record["name"] == "web"
    assert record["size"] == GIB
    assert record["status"] == "active"
    assert record.keys().isdisjoint({"imaging", "claimed"})
    read = f"/drives/{record['drive']}/read"
    found = [server.api("GET", f"{read}/{at}M/4M", user=owner).body for at in (0, 4, 8)]
    assert b"".join(found) == CONTENT.ljust(12 * MIB, b"\0")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_driver_destroys_a_drive_and_sees_that_it_is_gone(server, owner, provider):
    driver = driver_of(provider, server, owner)
    drive = driver.connection.request(
        "/drives/create", data='{"name": "n1", "size": "160G"}', method="POST"
    ).object["drive"]

    assert driver.ex_destroy_drive(drive) is True

    with pytest.raises(Exception, match="X-Elastic-Error: missing"):
        driver.ex_destroy_drive(drive)
    assert driver.connection.request("/drives/list").object == []


def test_a_driver_reads_what_types_it_was_made_for(server, owner):
    driver = driver_of(Provider.ELASTICHOSTS, server, owner)
    made = driver.connection.request(
        "/drives/create", data='{"name": "n1", "size": "1M"}', method="POST"
    ).object

    (listed,) = driver.connection.request("/drives/list").object

    assert listed["uuid"] == made["drive"]
    assert made["size"] == MIB
    assert made["encryption:cipher"] == "aes-xts-plain"
    assert made["read:bytes"] == made["write:requests"] == "0"


def test_a_driver_sees_that_an_imaging_failed(server, owner, standard):
    driver = driver_of(Provider.ELASTICHOSTS, server, owner)
    drive = server.create("size 1M", user=owner)

    # Too small for what the stream unpacks to, which shows while it runs.
    driver.connection.request(f"/drives/{drive}/image/{standard}/gunzip", method="POST")
    while driver.connection.request(f"/drives/{drive}/info").object.get("imaging") != "failed":
        pass

    info = driver.connection.request(f"/drives/{drive}/info").object
    assert info["status"] == "inactive"
    assert "too small" in info["imaging:error"]
    with pytest.raises(Exception, match="X-Elastic-Error: busy"):
        driver.connection.request(f"/drives/{drive}/image/cancel", method="POST")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_wrong_key_is_what_libcloud_calls_invalid_credentials(server, owner, provider):
    driver = driver_of(provider, server, (owner[0], "wrong"))

    with pytest.raises(InvalidCredsError):
        driver.connection.request("/drives/list")
