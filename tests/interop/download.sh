#!/bin/bash
# A download, as the vendor's tool put it on the wire: `info` for the size, then GET after GET, each
# as long as a chunk or as what is left.
#
#   EHURI=... EHAUTH=... download.sh [-c CHUNK] [-o OFFSET] DRIVE FILE
#
# A FILE that is there is gone on with, from its last whole chunk.
set -u -o pipefail

chunk=4194304 offset=''
while getopts 'c:o:' option; do
    case $option in
        c) chunk=$OPTARG ;;
        o) offset=$OPTARG ;;
        *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
drive=$1 file=$2

get() {
    curl -f -s -K <(printf 'user = "%s"\n' "$EHAUTH") "${EHURI%/}/drives/$drive/$1"
}

size=$(get info | sed -n 's/^size  *//p')
if [ -z "$size" ]; then
    echo "Drive $drive not found" >&2
    exit 1
fi
if [ -z "$offset" ]; then
    offset=$(stat -c %s "$file" 2>/dev/null || echo 0)
fi
offset=$((offset / chunk * chunk))
for ((at = offset; at < size; at += chunk)); do
    length=$((size - at < chunk ? size - at : chunk))
    if ! get "read/$at/$length" |
        dd of="$file" bs="$chunk" seek=$((at / chunk)) iflag=fullblock conv=notrunc status=none; then
        echo "Failed to read chunk at offset $at: aborting" >&2
        echo "Restart with '-o $at' to resume the download" >&2
        exit 1
    fi
    printf .
done
echo ' completed'
