/* XTS over sectors with registers of one width: a template that xts.c includes once for each.
 *
 * It asks for: WIDE(name), that name for this width; FEATURES, the instructions to use; `wide`, the
 * register; EACH(operation), an operation on each block of a register; ALL(block), a register with
 * that block in each place.
 */

/* How many bytes and blocks a register holds, and how many registers are worked on side by side: a
 * round takes several cycles, but a new one can begin in each of them. */
#define SIZE ((int)sizeof(wide))
#define BLOCKS (SIZE / 16)
#define LANES 8

/* The body is written out for each lane, so that arrays become registers. */
#ifdef __clang__
#define FOR_EACH(i, from, end) _Pragma("unroll") for (int i = (from); i < (end); i++)
#else
#define FOR_EACH(i, from, end) _Pragma("GCC unroll 16") for (int i = (from); i < (end); i++)
#endif

#define ON_WIDE __attribute__((target(FEATURES))) static inline

/* Each tweak times x^(8 * bytes), for 1 to 7: a shift by bytes, and what falls out, times 0x87
 * (carry-less, which is multiplication of polynomials), comes in again at the bottom.  Both factors
 * are short, so the product never reaches x^128. */
#define TIMES(tweaks, bytes)                                                                       \
    (EACH(bslli)(tweaks, bytes) ^ EACH(clmulepi64)(EACH(bsrli)(tweaks, 16 - (bytes)), modulus, 0))

/* Always inline, so that `encrypt` is a constant inside; `first` are the first eight tweaks. */
ON_WIDE __attribute__((always_inline)) void WIDE(sector)(
    const unsigned char rounds[ROUNDS + 1][16], const int encrypt, const unsigned char *first,
    unsigned char *data)
{
    const wide modulus = ALL(_mm_set1_epi64x(0x87));
    wide key[ROUNDS + 1], tweak[LANES], state[LANES], last[LANES];
    FOR_EACH(round, 0, ROUNDS + 1)
        key[round] = ALL(load(rounds[round]));
    FOR_EACH(i, 0, LANES)
        if (i < 8 / BLOCKS)
            memcpy(&tweak[i], first + i * SIZE, SIZE);
        else
            tweak[i] = TIMES(tweak[i - 8 / BLOCKS], 1);

    for (int at = 0; at < SECTOR; at += LANES * SIZE, data += LANES * SIZE) {
        FOR_EACH(i, 0, LANES) {
            memcpy(&state[i], data + i * SIZE, SIZE);
            state[i] ^= tweak[i] ^ key[0];
        }
        FOR_EACH(round, 1, ROUNDS) {
            FOR_EACH(i, 0, LANES)
                state[i] = encrypt ? EACH(aesenc)(state[i], key[round])
                                   : EACH(aesdec)(state[i], key[round]);
            /* Between the rounds, one lane each: the tweak goes on to the next blocks of the lane,
             * LANES * BLOCKS further, having left what the last round will add. */
            if (round <= LANES) {
                last[round - 1] = key[ROUNDS] ^ tweak[round - 1];
                tweak[round - 1] = TIMES(tweak[round - 1], LANES * BLOCKS / 8);
            }
        }
        FOR_EACH(i, 0, LANES) {
            state[i] = encrypt ? EACH(aesenclast)(state[i], last[i])
                               : EACH(aesdeclast)(state[i], last[i]);
            memcpy(data + i * SIZE, &state[i], SIZE);
        }
    }
}

/* Of `struct implementation`; it cannot fail. */
ON_WIDE int WIDE(run)(const struct xts *xts, int encrypt, uint64_t first, unsigned char *data,
                      uint32_t count)
{
    unsigned char tweaks[8 * 16] __attribute__((aligned(64)));
    __m128i next = first_tweak(xts, first);
    for (uint64_t number = first + 1; count > 0; number++, count--, data += SECTOR) {
        eight_tweaks(next, tweaks);
        /* One sector ahead: a chain of rounds that the processor runs beside those of this one. */
        next = first_tweak(xts, number);
        if (is_zero(data))
            continue;
        if (encrypt)
            WIDE(sector)(xts->encrypt, 1, tweaks, data);
        else
            WIDE(sector)(xts->decrypt, 0, tweaks, data);
    }
    return 0;
}

#undef SIZE
#undef BLOCKS
#undef LANES
#undef FOR_EACH
#undef ON_WIDE
#undef TIMES
#undef WIDE
#undef FEATURES
#undef wide
#undef EACH
#undef ALL
