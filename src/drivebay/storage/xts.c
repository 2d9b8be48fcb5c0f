/* AES-256-XTS over runs of 4096-byte sectors, in dm-crypt's aes-xts-plain64 layout with
 * iv_large_sectors: the tweak is the sector's number, 64 bits little-endian, in units of 4096.
 *
 * The AES is OpenSSL's.  libcrypto is opened when first needed and its five functions, stable since
 * OpenSSL 1.1, are declared here, so that building takes a compiler and no headers but libc's.
 * Called through ctypes, which lets other Python threads run meanwhile.
 */

#include <dlfcn.h>
#include <stdint.h>
#include <string.h>

#define SECTOR 4096

typedef struct evp_cipher_ctx EVP_CIPHER_CTX;
typedef struct evp_cipher EVP_CIPHER;

static EVP_CIPHER_CTX *(*ctx_new)(void);
static void (*ctx_free)(EVP_CIPHER_CTX *);
static const EVP_CIPHER *(*aes_256_xts)(void);
static int (*cipher_init)(EVP_CIPHER_CTX *, const EVP_CIPHER *, void *, const unsigned char *,
                          const unsigned char *, int);
static int (*cipher_update)(EVP_CIPHER_CTX *, unsigned char *, int *, const unsigned char *, int);

/* Opens libcrypto; 0 when all of it is there.  A second call finds the same and changes nothing. */
int drivebay_xts_open(void)
{
    void *crypto = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_LOCAL);
    if (crypto == NULL)
        return -1;
    *(void **)&ctx_new = dlsym(crypto, "EVP_CIPHER_CTX_new");
    *(void **)&ctx_free = dlsym(crypto, "EVP_CIPHER_CTX_free");
    *(void **)&aes_256_xts = dlsym(crypto, "EVP_aes_256_xts");
    *(void **)&cipher_init = dlsym(crypto, "EVP_CipherInit_ex");
    *(void **)&cipher_update = dlsym(crypto, "EVP_CipherUpdate");
    return ctx_new && ctx_free && aes_256_xts && cipher_init && cipher_update ? 0 : -1;
}

static int is_zero(const unsigned char *sector)
{
    uint64_t head;
    memcpy(&head, sector, sizeof head);
    /* All bytes equal their neighbours, and the first ones are zero. */
    return head == 0 && memcmp(sector, sector + sizeof head, SECTOR - sizeof head) == 0;
}

/* En- or decrypts `count` sectors in place, the first of them number `first`; zero sectors stay.
 * 0 when done; else some of the sectors are changed. */
int drivebay_xts(const unsigned char key[64], int encrypt, uint64_t first, unsigned char *data,
                 uint64_t count)
{
    EVP_CIPHER_CTX *ctx = ctx_new();
    int done = ctx != NULL && cipher_init(ctx, aes_256_xts(), NULL, key, NULL, encrypt) == 1;
    for (uint64_t i = 0; done && i < count; i++, data += SECTOR) {
        unsigned char tweak[16] = {0};
        int length = 0;
        if (is_zero(data))
            continue;
        for (int byte = 0; byte < 8; byte++)
            tweak[byte] = (unsigned char)((first + i) >> (8 * byte));
        done = cipher_init(ctx, NULL, NULL, NULL, tweak, -1) == 1
            && cipher_update(ctx, data, &length, data, SECTOR) == 1 && length == SECTOR;
    }
    if (ctx != NULL)
        ctx_free(ctx);
    return done ? 0 : -1;
}
