/* AES-256-XTS over runs of 4096-byte sectors, in dm-crypt's aes-xts-plain64 layout with
 * iv_large_sectors: the tweak is the sector's number, 64 bits little-endian, in units of 4096.
 *
 * On x86-64 the AES is the processor's, in loops of our own: xts_width.h, once for each width of
 * register, written from FIPS 197 and IEEE 1619.  Elsewhere, and with older compilers, it is
 * OpenSSL's.  Why both: docs/decisions/0011-vector-cipher.md.  Called through ctypes; building
 * takes a compiler and no headers but its own and libc's.
 */

#include <dlfcn.h>
#include <stdint.h>
#include <string.h>

#include "xts.h"

#define ROUNDS 14

/* A drive's key, expanded.  Nothing in it changes once it is made, so threads may share it. */
struct xts {
    const struct implementation *implementation;
    unsigned char key[64];                       /* as it was given: for data, then for tweaks */
    unsigned char encrypt[ROUNDS + 1][16];       /* round keys for data, in the order of use */
    unsigned char decrypt[ROUNDS + 1][16];
    unsigned char tweak[ROUNDS + 1][16];         /* round keys for sector numbers */
};

struct implementation {
    const char *name;
    int (*is_usable)(void);
    void (*expand)(struct xts *);
    /* En- or decrypts `count` sectors in place, the first of them number `first`; zero sectors
     * stay.  0 when done; else some of the sectors are changed. */
    int (*run)(const struct xts *, int encrypt, uint64_t first, unsigned char *data,
               uint32_t count);
};

int is_zero(const unsigned char *sector)
{
    uint64_t head;
    memcpy(&head, sector, sizeof head);
    /* All bytes equal their neighbours, and the first ones are zero. */
    return head == 0 && memcmp(sector, sector + sizeof head, SECTOR - sizeof head) == 0;
}

/* OpenSSL.  libcrypto is opened when first needed and its five functions, stable since OpenSSL 1.1,
 * are declared here. */

typedef struct evp_cipher_ctx EVP_CIPHER_CTX;
typedef struct evp_cipher EVP_CIPHER;

static EVP_CIPHER_CTX *(*ctx_new)(void);
static void (*ctx_free)(EVP_CIPHER_CTX *);
static const EVP_CIPHER *(*aes_256_xts)(void);
static int (*cipher_init)(EVP_CIPHER_CTX *, const EVP_CIPHER *, void *, const unsigned char *,
                          const unsigned char *, int);
static int (*cipher_update)(EVP_CIPHER_CTX *, unsigned char *, int *, const unsigned char *, int);

/* Opens libcrypto.  A second call finds the same and changes nothing. */
static int has_openssl(void)
{
    void *crypto = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_LOCAL);
    if (crypto == NULL)
        return 0;
    *(void **)&ctx_new = dlsym(crypto, "EVP_CIPHER_CTX_new");
    *(void **)&ctx_free = dlsym(crypto, "EVP_CIPHER_CTX_free");
    *(void **)&aes_256_xts = dlsym(crypto, "EVP_aes_256_xts");
    *(void **)&cipher_init = dlsym(crypto, "EVP_CipherInit_ex");
    *(void **)&cipher_update = dlsym(crypto, "EVP_CipherUpdate");
    return ctx_new && ctx_free && aes_256_xts && cipher_init && cipher_update;
}

/* A context serves one thread, so each call makes its own, from the key as it was given. */
static void expand_nothing(struct xts *xts)
{
    (void)xts;
}

static int run_openssl(const struct xts *xts, int encrypt, uint64_t first, unsigned char *data,
                       uint32_t count)
{
    EVP_CIPHER_CTX *ctx = ctx_new();
    int done = ctx != NULL && cipher_init(ctx, aes_256_xts(), NULL, xts->key, NULL, encrypt) == 1;
    for (uint64_t number = first; done && count > 0; number++, count--, data += SECTOR) {
        unsigned char tweak[16] = {0};
        int length = 0;
        if (is_zero(data))
            continue;
        for (int byte = 0; byte < 8; byte++)
            tweak[byte] = (unsigned char)(number >> (8 * byte));
        done = cipher_init(ctx, NULL, NULL, NULL, tweak, -1) == 1
            && cipher_update(ctx, data, &length, data, SECTOR) == 1 && length == SECTOR;
    }
    if (ctx != NULL)
        ctx_free(ctx);
    return done ? 0 : -1;
}

/* Compilers that know all of the instructions below and can ask the processor for them: gcc from its
 * first such version on, clang from the one that was tried.  An older one, like one for another
 * processor, sees nothing of the rest. */
#if defined(__x86_64__) && (defined(__clang__) ? __clang_major__ >= 22 : __GNUC__ >= 11)
#define HAS_LOOPS 1

#include <immintrin.h>

/* The processor's AES works on 16-byte registers, __m128i: one holds a block or a round key.  An
 * AESENC is one whole round (FIPS 197, 5.1): ShiftRows, SubBytes, MixColumns, then the exclusive
 * or with a round key; AESENCLAST is the last round, without MixColumns.  No table is looked up
 * and nothing branches on data, so time tells nothing about keys or data.  (is_zero branches on
 * what the sector's place on the disk shows anyway: whether it is a hole.)
 *
 * A function may use instructions that not every x86-64 has if it names them as its target. */
#define BLOCK_FEATURES "aes,pclmul,avx"
#define ON_BLOCKS __attribute__((target(BLOCK_FEATURES))) static inline

ON_BLOCKS __m128i load(const unsigned char *block)
{
    return _mm_loadu_si128((const __m128i *)block);
}

ON_BLOCKS void store(unsigned char *block, __m128i value)
{
    _mm_storeu_si128((__m128i *)block, value);
}

/* FIPS 197, 5.2, for keys of 8 words.  A round key is four words w[i] to w[i+3], lowest first, each
 * the exclusive or of the word before it and the one eight before; but w[i-1] goes in changed. */
ON_BLOCKS void expand_key(const unsigned char key[32], unsigned char rounds[ROUNDS + 1][16])
{
    store(rounds[0], load(key));
    store(rounds[1], load(key + 16));
    for (int i = 2; i <= ROUNDS; i++) {
        /* Words 2 and 3 of this are SubWord and RotWord(SubWord) of the last word before. */
        __m128i changed = _mm_aeskeygenassist_si128(load(rounds[i - 1]), 0);
        if (i % 2 == 0) {
            changed = _mm_shuffle_epi32(changed, 0xff);          /* word 3, four times */
            changed ^= _mm_set1_epi32(1 << (i / 2 - 1));         /* Rcon[i/2] = x^(i/2-1) */
        } else {
            changed = _mm_shuffle_epi32(changed, 0xaa);          /* word 2, four times */
        }
        /* Each of the four words plus all words below it: a shift by one, then by two. */
        __m128i sums = load(rounds[i - 2]);
        sums ^= _mm_slli_si128(sums, 4);
        sums ^= _mm_slli_si128(sums, 8);
        store(rounds[i], sums ^ changed);
    }
}

ON_BLOCKS void expand_keys(struct xts *xts)
{
    expand_key(xts->key, xts->encrypt);
    expand_key(xts->key + 32, xts->tweak);
    /* AESDEC is a round of the equivalent inverse cipher (FIPS 197, 5.3.5): the same keys
     * backwards, all but the first and the last through InvMixColumns, which is AESIMC. */
    for (int i = 0; i <= ROUNDS; i++) {
        __m128i key = load(xts->encrypt[ROUNDS - i]);
        store(xts->decrypt[i], i == 0 || i == ROUNDS ? key : _mm_aesimc_si128(key));
    }
}

/* The tweak of a sector's first block (IEEE 1619, 5.3.2): its number under the second key. */
ON_BLOCKS __m128i first_tweak(const struct xts *xts, uint64_t number)
{
    __m128i tweak = _mm_set_epi64x(0, (long long)number) ^ load(xts->tweak[0]);
    for (int round = 1; round < ROUNDS; round++)
        tweak = _mm_aesenc_si128(tweak, load(xts->tweak[round]));
    return _mm_aesenclast_si128(tweak, load(xts->tweak[ROUNDS]));
}

/* The tweaks of a sector's first eight blocks, each times x of the one before: in GF(2^128) as
 * IEEE 1619, 5.2, has it, that is a shift by one bit, and where one falls out, x^128 is
 * x^7 + x^2 + x + 1 = 0x87. */
ON_BLOCKS void eight_tweaks(__m128i first, unsigned char tweaks[8 * 16])
{
    uint64_t low = (uint64_t)_mm_cvtsi128_si64(first);
    uint64_t high = (uint64_t)_mm_extract_epi64(first, 1);
    for (int i = 0; i < 8; i++) {
        uint64_t out = high >> 63;
        store(tweaks + 16 * i, _mm_set_epi64x((long long)high, (long long)low));
        high = high << 1 | low >> 63;
        low = low << 1 ^ (0x87 & -out);
    }
}

/* The loops, for registers of 1, 2 and 4 blocks.  EACH names what does the same to each block of a
 * register, ALL makes a register with one block in all places. */

#define WIDE(name) name##_128
#define FEATURES BLOCK_FEATURES
#define wide __m128i
#define EACH(operation) _mm_##operation##_si128
#define ALL(block) (block)
#include "xts_width.h"

#define WIDE(name) name##_256
#define FEATURES BLOCK_FEATURES ",avx2,vaes,vpclmulqdq"
#define wide __m256i
#define EACH(operation) _mm256_##operation##_epi128
#define ALL(block) _mm256_broadcastsi128_si256(block)
#include "xts_width.h"

#define WIDE(name) name##_512
#define FEATURES BLOCK_FEATURES ",avx2,avx512f,avx512bw,vaes,vpclmulqdq"
#define wide __m512i
#define EACH(operation) _mm512_##operation##_epi128
#define ALL(block) _mm512_broadcast_i32x4(block)
#include "xts_width.h"

static int has_128(void)
{
    return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul")
        && __builtin_cpu_supports("avx");
}

static int has_256(void)
{
    return has_128() && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("vaes")
        && __builtin_cpu_supports("vpclmulqdq");
}

static int has_512(void)
{
    return has_256() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
}
#endif

/* The fastest first. */
static const struct implementation IMPLEMENTATIONS[] = {
#ifdef HAS_LOOPS
    {"vaes512", has_512, expand_keys, run_512},
    {"vaes256", has_256, expand_keys, run_256},
    {"aesni", has_128, expand_keys, run_128},
#endif
    {"openssl", has_openssl, expand_nothing, run_openssl},
};
#define COUNT (sizeof IMPLEMENTATIONS / sizeof IMPLEMENTATIONS[0])

/* The name of the index-th of those that this machine can run, the fastest first, or NULL. */
const char *drivebay_xts_name(uint32_t index)
{
    for (size_t i = 0; i < COUNT; i++)
        if (IMPLEMENTATIONS[i].is_usable() && index-- == 0)
            return IMPLEMENTATIONS[i].name;
    return NULL;
}

/* How many bytes `drivebay_xts_make` fills. */
uint32_t drivebay_xts_size(void)
{
    return sizeof(struct xts);
}

/* Expands `key` for the implementation of that name; -1 when this machine cannot run it. */
int drivebay_xts_make(struct xts *xts, const char *name, const unsigned char key[64])
{
    for (size_t i = 0; i < COUNT; i++)
        if (strcmp(IMPLEMENTATIONS[i].name, name) == 0 && IMPLEMENTATIONS[i].is_usable()) {
            xts->implementation = &IMPLEMENTATIONS[i];
            memcpy(xts->key, key, sizeof xts->key);
            xts->implementation->expand(xts);
            return 0;
        }
    return -1;
}

int xts_run(const struct xts *xts, int encrypt, uint64_t first, unsigned char *data,
            uint32_t count)
{
    return xts->implementation->run(xts, encrypt, first, data, count);
}

/* See `implementation.run`.  The sector number comes in halves, which ctypes passes fastest. */
int drivebay_xts_run(const struct xts *xts, int encrypt, uint32_t low, uint32_t high,
                     unsigned char *data, uint32_t count)
{
    return xts->implementation->run(xts, encrypt, (uint64_t)high << 32 | low, data, count);
}
