/*
 * test_tls_memory.c - OpenSSL's memory: blocks do not overlap, caps hold, any thread may free.
 */
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/tls/tls_memory.h"
#include "tests/check.h"

#define CAP_OCTETS (8u << 20)
#define N_BLOCKS   2000

static struct tls_memory *
region(uint64_t cap)
{
	bool locked;
	struct tls_memory *m = tls_memory_create(cap, &locked);

	CHECK_TRUE("a region", m != NULL);
	return m;
}

/* Sizes as OpenSSL asks: most are small, some are records. */
static size_t
some_size(void)
{
	const int kind = (int)(random() % 100);

	return 1 + (size_t)random() % (kind < 80 ? 300 : kind < 97 ? 5000 : 40000);
}

static void
test_blocks_keep_their_octets(void **state)
{
	static struct {
		uint8_t *ptr, mark;
		size_t octets;
	} block[N_BLOCKS];
	struct tls_memory *m = region(UINT64_C(32) << 20);

	(void)state;
	srandom(7);
	tls_memory_enter(m);
	for (uint32_t turn = 0; turn < 40000; turn++) {
		const uint32_t i = (uint32_t)random() % N_BLOCKS;

		if (block[i].ptr != NULL) {
			for (size_t k = 0; k < block[i].octets; k++)
				CHECK_EQ("an octet of a block", block[i].ptr[k], block[i].mark);
			if (random() % 4 == 0) {
				const size_t to = some_size(), both = to < block[i].octets ? to : block[i].octets;
				uint8_t *moved = OPENSSL_realloc(block[i].ptr, to);

				CHECK_TRUE("grown or shrunk", moved != NULL);
				for (size_t k = 0; k < both; k++)
					CHECK_EQ("an octet that moved", moved[k], block[i].mark);
				memset(moved, block[i].mark, to);
				block[i].ptr = moved;
				block[i].octets = to;
				continue;
			}
			OPENSSL_free(block[i].ptr);
			block[i].ptr = NULL;
			continue;
		}
		block[i].octets = some_size();
		block[i].mark = (uint8_t)random();
		block[i].ptr = OPENSSL_malloc(block[i].octets);
		CHECK_TRUE("a block", block[i].ptr != NULL);
		CHECK_EQ("aligned for everything", (uintptr_t)block[i].ptr % 16, 0);
		memset(block[i].ptr, block[i].mark, block[i].octets);
	}
	for (uint32_t i = 0; i < N_BLOCKS; i++) {
		OPENSSL_free(block[i].ptr);
		block[i].ptr = NULL;
	}
	CHECK_EQ("all given back", tls_memory_used_octets(m), 0);
	CHECK_EQ("and all pages", tls_memory_free_octets(m), tls_memory_cap_octets(m));
	CHECK_EQ("nothing refused", tls_memory_refused(m), 0);
	tls_memory_enter(NULL);
	tls_memory_destroy(m);
}

static void
test_the_cap_holds_and_what_is_given_back_serves_again(void **state)
{
	static void *block[CAP_OCTETS / 16384 + 1];
	struct tls_memory *m = region(CAP_OCTETS);
	uint32_t n = 0;

	(void)state;
	tls_memory_enter(m);
	while ((block[n] = OPENSSL_malloc(16384)) != NULL)
		CHECK_TRUE("no more than the cap", ++n < sizeof(block) / sizeof(block[0]));
	CHECK_TRUE("most of the cap", n >= CAP_OCTETS / 131072 * 7);
	CHECK_EQ("counted", tls_memory_refused(m), 1);
	CHECK_EQ("no page left", tls_memory_free_octets(m), 0);
	CHECK_TRUE("nothing else either", OPENSSL_malloc(100) == NULL);
	while (n > 0)
		OPENSSL_free(block[--n]);
	CHECK_EQ("empty", tls_memory_used_octets(m), 0);
	block[0] = OPENSSL_malloc(100);
	CHECK_TRUE("pages serve another size", block[0] != NULL);
	OPENSSL_free(block[0]);
	CHECK_TRUE("too large for any", OPENSSL_malloc(TLS_MEMORY_BLOCK_MAX_OCTETS + 1) == NULL);
	tls_memory_enter(NULL);
	tls_memory_destroy(m);
}

static void *
free_all(void *arg)
{
	void **block = arg;

	for (uint32_t i = 0; i < N_BLOCKS; i++)
		OPENSSL_free(block[i]);
	return NULL;
}

static void
test_another_thread_may_free(void **state)
{
	static void *block[N_BLOCKS];
	struct tls_memory *m = region(CAP_OCTETS);

	(void)state;
	for (uint32_t round = 0; round < 20; round++) {
		pthread_t thread;

		tls_memory_enter(m);
		for (uint32_t i = 0; i < N_BLOCKS; i++) {
			block[i] = OPENSSL_malloc(2048);
			CHECK_TRUE("what the thread freed serves again", block[i] != NULL);
		}
		CHECK_EQ("a thread", pthread_create(&thread, NULL, free_all, block), 0);
		/* the owner goes on meanwhile */
		for (uint32_t i = 0; i < 1000; i++)
			OPENSSL_free(OPENSSL_malloc(64));
		pthread_join(thread, NULL);
	}
	tls_memory_enter(NULL);
	tls_memory_destroy(m);
}

static void
test_regions_and_the_heap_are_told_apart(void **state)
{
	struct tls_memory *a = region(CAP_OCTETS), *b = region(CAP_OCTETS);
	void *of_heap = OPENSSL_malloc(100), *of_a, *of_b;

	(void)state;
	CHECK_TRUE("nested", tls_memory_enter(a) == NULL);
	of_a = OPENSSL_malloc(100);
	CHECK_TRUE("nested deeper", tls_memory_enter(b) == a);
	of_b = OPENSSL_malloc(100);
	of_heap = OPENSSL_realloc(of_heap, 5000); /* stays where it is from */
	CHECK_EQ("a has one", tls_memory_used_octets(a), 128);
	CHECK_EQ("b has one", tls_memory_used_octets(b), 128);
	OPENSSL_free(of_b);
	OPENSSL_free(of_heap);
	CHECK_EQ("b has none", tls_memory_used_octets(b), 0);
	tls_memory_enter(a);
	OPENSSL_free(of_a);
	CHECK_EQ("a has none", tls_memory_used_octets(a), 0);
	tls_memory_enter(NULL);
	tls_memory_destroy(a);
	tls_memory_destroy(b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blocks_keep_their_octets),
		cmocka_unit_test(test_the_cap_holds_and_what_is_given_back_serves_again),
		cmocka_unit_test(test_another_thread_may_free),
		cmocka_unit_test(test_regions_and_the_heap_are_told_apart),
	};

	if (tls_memory_install(UINT64_C(64) << 20) != 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
