#!/bin/busybox sh
# The first program: finds the disk that GRUB read this from, and goes on there.
set -e

/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
while read -r module; do
    insmod "/modules/$module"
done </modules/order

# The kernel looks for partitions before insmod returns, or soon after.
left=100
until [ -b /dev/vda1 ]; do
    left=$((left - 1))
    [ "$left" -gt 0 ]
    usleep 100000
done
mount -t ext4 /dev/vda1 /disk
mount --move /dev /disk/dev
mount --move /proc /disk/proc
exec switch_root /disk /sbin/init
