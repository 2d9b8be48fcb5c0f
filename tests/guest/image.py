"""A disk image that a PC boots from: GRUB, a kernel of Debian's and busybox in one ext4 partition.

It is made of packages' files without root rights: nothing is mounted, no kernel is installed.
"""

import os
import re
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from drivebay.units import MIB

SIZE = 64 * MIB
PARTITION = 1 * MIB
"""Where the only partition begins.  GRUB lies before it, as it does on most disks."""

_SECTOR = 512
_HERE = Path(__file__).parent
_GRUB = Path("/usr/lib/grub/i386-pc")
_GRUB_MODULES = ("biosdisk", "part_msdos", "ext2", "normal", "linux", "echo", "serial", "terminal")
_KERNEL = "linux-image-cloud-amd64"

# What the guest needs for its disks; what a kernel has built in is not in its modules.dep.
_MODULES = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4")

# mke2fs and its kin live where an ordinary user's PATH may not lead.
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"

_NEEDED = {
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "grub-mkimage": "grub-common",
    "mke2fs": "e2fsprogs",
    "qemu-system-x86_64": "qemu-system-x86",
}

_GRUB_CONFIG = """\
serial
terminal_output serial
echo GRUB starts {token}
linux /boot/vmlinuz console=ttyS0 quiet panic=-1 token={token}
initrd /boot/initramfs
boot
"""


class PackageMissingError(Exception):
    """A package that cannot be had here."""


@dataclass(frozen=True)
class Image:
    """A disk image, the token that a guest tells that was booted from it, and what it loads."""

    file: Path
    token: str
    kernel_bytes: int


def missing() -> list[str]:
    """Return the packages that are not installed and have to be."""
    found = [
        package for program, package in _NEEDED.items() if not shutil.which(program, path=PATH)
    ]
    return found if (_GRUB / "boot.img").exists() else [*found, "grub-pc-bin"]


def build(folder: Path) -> Image:
    """Make the image in the empty *folder*, of what `apt-get download` brings.

    Raises:
        PackageMissingError: it does not bring one.
    """
    packages, root, image = folder / "packages", folder / "root", folder / "disk.img"
    token = os.urandom(8).hex()
    _fetch(packages)
    (kernel,) = (packages / "boot").glob("vmlinuz-*")
    for name in ("bin", "boot/grub", "dev", "etc", "mnt", "proc", "sbin", "sys", "tmp"):
        (root / name).mkdir(parents=True)
    kernel_bytes = Path(shutil.copy(kernel, root / "boot/vmlinuz")).stat().st_size
    _make_initramfs(packages, folder / "initramfs", root / "boot/initramfs")
    (root / "boot/grub/grub.cfg").write_text(_GRUB_CONFIG.format(token=token))
    (root / "etc/token").write_text(f"{token}\n")
    _install_programs(packages / "bin/busybox", root)
    shutil.copy(_HERE / "init.sh", root / "sbin/init")
    _write_disk(image, root, folder / "core.img")
    for left in (packages, root, folder / "initramfs"):
        shutil.rmtree(left)
    return Image(image, token, kernel_bytes)


def run(*words: str | Path, cwd: Path | None = None, stdin: bytes = b"") -> bytes:
    """Run a program that has to succeed, and return what it prints."""
    done = subprocess.run(
        [str(word) for word in words],
        input=stdin,
        capture_output=True,
        env={**os.environ, "PATH": PATH, "LC_ALL": "C"},
        timeout=300,
        check=False,
        cwd=cwd,
    )
    assert done.returncode == 0, done
    return done.stdout


def _fetch(folder: Path) -> None:
    """Unpack the kernel that is current and a static busybox into *folder*."""
    folder.mkdir()
    try:
        listed = run("apt-cache", "depends", "--important", _KERNEL).decode()
        kernels = re.findall(r"Depends: (linux-image-\S+)", listed)
        run("apt-get", "-q", "download", "busybox-static", *kernels, cwd=folder)
    except AssertionError as error:
        raise PackageMissingError(f"{_KERNEL} and busybox-static from apt-get download") from error
    for package in sorted(folder.glob("*.deb")):
        run("dpkg-deb", "-x", package, folder)
        package.unlink()


def _make_initramfs(packages: Path, folder: Path, file: Path) -> None:
    """Pack busybox and the modules for the disk into *file*."""
    busybox = packages / "bin/busybox"
    for name in ("bin", "dev", "disk", "modules", "proc"):
        (folder / name).mkdir(parents=True)
    shutil.copy(busybox, folder / "bin/busybox")
    shutil.copy(_HERE / "initramfs.sh", folder / "init")
    modules = _modules(busybox, packages)
    for module in modules:
        shutil.copy(module, folder / "modules" / module.name)
    (folder / "modules/order").write_text("".join(f"{module.name}\n" for module in modules))
    names = "".join(f"{path.relative_to(folder)}\n" for path in sorted(folder.rglob("*")))
    file.write_bytes(run(busybox, "cpio", "-o", "-H", "newc", cwd=folder, stdin=names.encode()))


def _modules(busybox: Path, packages: Path) -> list[Path]:
    """Return the files of the modules that the guest needs, each after those that it needs."""
    (folder,) = (packages / "lib/modules").iterdir()
    run(busybox, "depmod", "-b", packages, folder.name)
    needs = {
        name: rest.split()
        for name, _, rest in (
            line.partition(":") for line in (folder / "modules.dep").read_text().splitlines()
        )
    }
    by_name = {Path(name).name.partition(".")[0].replace("-", "_"): name for name in needs}
    ordered: dict[str, None] = {}
    for wanted in _MODULES:
        if wanted in by_name:
            # modules.dep names what is needed from the last to be loaded to the first.
            ordered.update(dict.fromkeys([*reversed(needs[by_name[wanted]]), by_name[wanted]]))
    return [folder / name for name in ordered]


def _install_programs(busybox: Path, root: Path) -> None:
    """Put busybox and this machine's own mke2fs and e2fsck below *root*, with their libraries."""
    shutil.copy(busybox, root / "bin/busybox")
    for applet in run(busybox, "--list").decode().split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    # Busybox's shell prefers an mke2fs of its own, which does not know ext4, to any in PATH.
    for program, name in (("mke2fs", "mkfs.ext4"), ("e2fsck", "e2fsck")):
        found = shutil.which(program, path=PATH)
        assert found is not None
        shutil.copy(found, root / "sbin" / name)
        for library in re.findall(r"(/\S+) \(0x", run("ldd", found).decode()):
            copy = root / library[1:]
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, copy)
    shutil.copy("/etc/mke2fs.conf", root / "etc/mke2fs.conf")


def _write_disk(image: Path, root: Path, core: Path) -> None:
    """Write boot sector, GRUB and a file system of what is below *root*."""
    prefix = "(hd0,msdos1)/boot/grub"
    run("grub-mkimage", "-O", "i386-pc", "-p", prefix, "-o", core, *_GRUB_MODULES)
    grub = core.read_bytes()
    assert len(grub) <= PARTITION - _SECTOR, "GRUB does not fit in front of the partition"
    with image.open("wb") as file:
        file.truncate(SIZE)
    # GRUB 2.06 does not read what has metadata_csum_seed.
    features = ("-t", "ext4", "-O", "^metadata_csum_seed")
    place = ("-E", f"offset={PARTITION}", image, f"{(SIZE - PARTITION) // 1024}K")
    run("mke2fs", "-q", "-F", *features, "-d", root, *place)
    entry = struct.pack(
        "<B3sB3sII",
        0x80,  # It is the one to boot from.
        b"\xfe\xff\xff",  # Addresses by cylinder are of no use since disks have grown.
        0x83,  # Linux
        b"\xfe\xff\xff",
        PARTITION // _SECTOR,
        (SIZE - PARTITION) // _SECTOR,
    )
    # The boot sector as it is loads GRUB from the sectors that follow it.  What it needs for floppy
    # disks lies where a hard disk has its four partitions.
    sector = bytearray((_GRUB / "boot.img").read_bytes())
    sector[0x1BE:0x1FE] = entry.ljust(64, b"\0")
    with image.open("r+b") as file:
        file.write(sector + grub)
