#!/bin/bash
# An upload, as the vendor's tool put it on the wire: `create` as text without a last newline, then
# each chunk of the file as a gzip stream of its own, at its offset.
#
#   EHURI=... EHAUTH=... upload.sh [-c CHUNK] [-d DRIVE] [-n NAME] [-o OFFSET] [-r RELEASE] FILE
#
# RELEASE 2011 joins the end point and the path with the end point's own slash and says
# `claim:type exclusive`; 2016 says `tier disk`.
set -u -o pipefail

chunk=4194304 drive='' name='' offset=0 release=2016
while getopts 'c:d:n:o:r:' option; do
    case $option in
        c) chunk=$OPTARG ;;
        d) drive=$OPTARG ;;
        n) name=$OPTARG ;;
        o) offset=$OPTARG ;;
        r) release=$OPTARG ;;
        *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
file=$1
size=$(stat -c %s "$file")
case $release in
    2011) base=$EHURI extra='claim:type exclusive' ;;
    *) base=${EHURI%/}/ extra='tier disk' ;;
esac

post() {
    curl -f -s -K <(printf 'user = "%s"\n' "$EHAUTH") -H 'Expect:' "$@"
}

if [ -n "$drive" ]; then
    echo "Using existing drive $drive"
else
    text=$(printf 'name %s\nsize %s\n%s' "${name:-${file##*/}}" "$size" "$extra")
    drive=$(post -H 'Content-Type: text/plain' --data-binary "$text" "${base}drives/create" |
        sed -n 's/^drive  *//p')
    if [ -z "$drive" ]; then
        echo "Failed to create drive of size $size" >&2
        exit 1
    fi
    echo "Created drive $drive of size $size"
fi

count=$(((size + chunk - 1) / chunk))
for ((index = offset / chunk; index < count; index++)); do
    at=$((index * chunk))
    if ! dd if="$file" bs="$chunk" skip="$index" count=1 status=none | gzip -c |
        post -H 'Content-Type: application/octet-stream' -H 'Content-Encoding: gzip' \
            --data-binary @- "${base}drives/$drive/write/$at"; then
        echo "Failed to write chunk $((index + 1)) of $count: aborting" >&2
        echo "Restart with '-d $drive -o $at' to resume the upload" >&2
        exit 1
    fi
    printf .
done
echo ' completed'
