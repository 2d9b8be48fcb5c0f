#!/bin/bash
# One call, as the vendor's own tool put it on the wire: always POST, whatever the call, and a body
# of no particular type.
#
#   EHURI=http://HOST:PORT/ EHAUTH=UUID:KEY call.sh [-c | -f FILE] [-j] [-o] WORD...
#
#   -c       the body comes from stdin       -j   JSON both ways
#   -f FILE  the body is FILE                -o   the older release: empty bodies look like a form
set -u

accept='*/*' body='' type='text/plain'
while getopts 'cf:jo' option; do
    case $option in
        c) body=@- type=application/octet-stream ;;
        f) body=@$OPTARG type=application/octet-stream ;;
        j) accept=application/json ;;
        o) type=application/x-www-form-urlencoded ;;
        *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
if [ "$accept" = application/json ] && [ -n "$body" ]; then
    type=application/json
fi

path=$(IFS=/; echo "$*")
exec curl -s -K <(printf 'user = "%s"\n' "$EHAUTH") -H "Accept: $accept" -H "Content-Type: $type" \
    -H 'Expect:' --data-binary "$body" "${EHURI%/}/$path"
