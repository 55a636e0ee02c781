/*
 * store_recover.c - a file that may be damaged: walked by a child before we open it, set aside when it cannot be.
 *
 * Flow:   store.c opens the environment -> store_walk_is_sound(), store_is_cut(), store_set_aside()
 * Touches: STATE_DIR/greyline.mdb, read only in the child; renames it.
 * Keeps:  LMDB ends the process that reads a damaged page, and that must not be ours: a child of this process walks the whole file first. It
 *         is forked before the environment is opened (PITFALLS 43).
 */
#include "control/store_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define STORE_CHECK_S 2 /* the walk of a file after an unclean end; one that takes longer counts as sound */

/* In a child: walks every record. Exit 0: sound. */
static void __attribute__((noreturn)) check_child(const char *path)
{
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi, main_dbi;
	MDB_cursor *names, *cursor;
	MDB_val name, none, key, value;
	volatile unsigned sum = 0;

	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	signal(SIGABRT, SIG_DFL);
	alarm(STORE_CHECK_S);
	if (mdb_env_create(&env) != 0 || mdb_env_set_maxdbs(env, 32) != 0)
		_exit(0);
	if (mdb_env_open(env, path, MDB_NOSUBDIR | MDB_RDONLY | MDB_NOLOCK, 0) != 0 ||
		mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) != 0 || mdb_dbi_open(txn, NULL, 0, &main_dbi) != 0 ||
		mdb_cursor_open(txn, main_dbi, &names) != 0)
		_exit(1);
	while (mdb_cursor_get(names, &name, &none, MDB_NEXT) == 0) {
		char text[64];
		int error;

		if (name.mv_size >= sizeof(text))
			_exit(1);
		memcpy(text, name.mv_data, name.mv_size);
		text[name.mv_size] = '\0';
		if (mdb_dbi_open(txn, text, 0, &dbi) != 0 || mdb_cursor_open(txn, dbi, &cursor) != 0)
			_exit(1);
		while ((error = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
			if (value.mv_size > 0)
				sum += *((const uint8_t *)value.mv_data + value.mv_size - 1);
			if (key.mv_size == 0 || key.mv_size > 511)
				_exit(1);
		}
		if (error != MDB_NOTFOUND)
			_exit(1);
	}
	(void)sum; /* volatile: every value was read */
	_exit(0);
}

/* Whether the file can be walked from end to end without ending the process that does. */
bool
store_walk_is_sound(const char *path)
{
	int status = 0;
	pid_t pid = fork();

	if (pid < 0)
		return true;
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);

		if (null >= 0)
			dup2(null, 2); /* LMDB's last words are of no use to anybody */
		check_child(path);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGALRM;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void
store_set_aside(struct store *s, const char *suffix, const char *why)
{
	char to[sizeof(s->path) + 32], lock[sizeof(s->path) + 8];

	snprintf(to, sizeof(to), "%s.%s", s->path, suffix);
	snprintf(lock, sizeof(lock), "%s-lock", s->path);
	if (rename(s->path, to) != 0 && errno != ENOENT) {
		unlink(s->path);
	}
	unlink(lock);
	s->stats.set_aside++;
	store_note(s, "%s; set aside as %s, a new one begins", why, to);
}

/* A file shorter than its last page would end us by SIGBUS. */
bool
store_is_cut(MDB_env *env, const char *path)
{
	MDB_envinfo info;
	MDB_stat stat_env;
	struct stat st;

	if (mdb_env_info(env, &info) != 0 || mdb_env_stat(env, &stat_env) != 0 || stat(path, &st) != 0)
		return false;
	return (uint64_t)st.st_size < ((uint64_t)info.me_last_pgno + 1) * stat_env.ms_psize;
}

void
store_running_path(const struct store *s, char *out, size_t room)
{
	snprintf(out, room, "%s/greyline.running", s->dir);
}
