/* Small reads and writes of one volume's file, many of them in one step and in one call: what
 * storage/pieces.py does without it, for the usual case.  Whatever is unusual (a lock that is not
 * free, something committed meanwhile, a page that is not in memory, an error) ends the call, and
 * the caller does the rest the long way.
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "xts.h"

/* One connection's volume, and the counter that every commit of the catalog changes. */
struct volume {
    const struct xts *key; /* NULL for a volume in plain */
    unsigned char *buffer; /* where the pieces' bytes are */
    unsigned char *scratch; /* as long as the longest piece, for what is to be written */
    int32_t file;
    int32_t flags; /* of preadv2: RWF_NOWAIT where a read could wait */
    int32_t counter_file;
    uint32_t counter_at;
};

/* Whole sectors of the volume, and where in the buffer they are. */
struct piece {
    uint64_t offset;
    uint32_t length;
    uint32_t at;
};

static int set_lock(int file, short kind, uint64_t start, uint64_t length)
{
    struct flock range = {.l_type = kind, .l_whence = SEEK_SET,
                          .l_start = (off_t)start, .l_len = (off_t)length};
    return fcntl(file, F_OFD_SETLK, &range);
}

/* Gives back whatever is held between the first piece's start and the last one's end. */
static void unlock(int file, const struct piece *pieces, uint32_t count)
{
    uint64_t low = UINT64_MAX, high = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t end = pieces[i].offset + pieces[i].length;
        low = pieces[i].offset < low ? pieces[i].offset : low;
        high = end > high ? end : high;
    }
    set_lock(file, F_UNLCK, low, high - low);
}

/* Holds every piece; 0 when done.  Each by itself: random ones are spread over the whole volume, and
 * a lock over all of it would keep others waiting.  Nobody waits here, so the order is free. */
static int lock(int file, short kind, const struct piece *pieces, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (set_lock(file, kind, pieces[i].offset, pieces[i].length) != 0) {
            unlock(file, pieces, count);
            return -1;
        }
    return 0;
}

/* Whether the counter, four bytes in network order, is what it was. */
static int is_unchanged(const struct volume *volume, uint32_t expected)
{
    unsigned char found[4];
    if (pread(volume->counter_file, found, sizeof found, volume->counter_at) != sizeof found)
        return 0;
    return ((uint32_t)found[0] << 24 | (uint32_t)found[1] << 16 | (uint32_t)found[2] << 8 |
            found[3]) == expected;
}

static int read_piece(const struct volume *volume, const struct piece *piece)
{
    struct iovec place = {volume->buffer + piece->at, piece->length};
    if (preadv2(volume->file, &place, 1, (off_t)piece->offset, volume->flags) !=
        (ssize_t)piece->length)
        return -1;
    if (volume->key == NULL)
        return 0;
    return xts_run(volume->key, 0, piece->offset / SECTOR, place.iov_base,
                   piece->length / SECTOR);
}

static int write_piece(const struct volume *volume, const struct piece *piece)
{
    unsigned char *data = volume->buffer + piece->at;
    for (uint32_t at = 0; at < piece->length; at += SECTOR)
        if (is_zero(data + at))
            return -1; /* It is to become a hole. */
    if (volume->key != NULL) {
        /* A copy: after a failure the long way begins with what the client sent. */
        memcpy(volume->scratch, data, piece->length);
        data = volume->scratch;
        if (xts_run(volume->key, 1, piece->offset / SECTOR, data, piece->length / SECTOR) != 0)
            return -1;
    }
    if (pwrite(volume->file, data, piece->length, (off_t)piece->offset) !=
        (ssize_t)piece->length)
        return -1;
    return 0;
}

static uint32_t each(const struct volume *volume, uint32_t expected, const struct piece *pieces,
                     uint32_t count, short kind,
                     int (*step)(const struct volume *, const struct piece *))
{
    uint32_t done = 0;
    if (lock(volume->file, kind, pieces, count) != 0)
        return 0;
    if (is_unchanged(volume, expected))
        while (done < count && step(volume, &pieces[done]) == 0)
            done++;
    unlock(volume->file, pieces, count);
    return done;
}

/* Reads pieces while nothing is unusual; returns how many were read. */
uint32_t drivebay_read_pieces(const struct volume *volume, uint32_t expected,
                              const struct piece *pieces, uint32_t count)
{
    return each(volume, expected, pieces, count, F_RDLCK, read_piece);
}

/* The same for writes. */
uint32_t drivebay_write_pieces(const struct volume *volume, uint32_t expected,
                               const struct piece *pieces, uint32_t count)
{
    return each(volume, expected, pieces, count, F_WRLCK, write_piece);
}
