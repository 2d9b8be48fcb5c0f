/* What xts.c has for the other sources of the extension. */

#ifndef DRIVEBAY_XTS_H
#define DRIVEBAY_XTS_H

#include <stdint.h>

#define SECTOR 4096

struct xts;

/* Not for others than this extension, so that the compiler may put it in line. */
#define INSIDE __attribute__((visibility("hidden")))

INSIDE int is_zero(const unsigned char *sector);

/* See `implementation.run` in xts.c. */
INSIDE int xts_run(const struct xts *xts, int encrypt, uint64_t first, unsigned char *data,
                   uint32_t count);

#endif
