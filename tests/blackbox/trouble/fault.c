/* Faults for an unmodified binary, below the C library's calls: a disk that is full, read-only, broken or slow, and a
 * wall clock that was put elsewhere. Loaded with LD_PRELOAD and steered by a page that the test maps as well. Files are
 * hit where their path contains the page's target, or ends with what is before a `$` at the target's end; everything
 * else goes through.
 *
 * With FAULT_SHADOW it also keeps what the disk would have after a power failure: bytes reach the copy in that folder
 * with the sync that covers them, and a sync that fails drops them, as Linux does. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct control {
  volatile int64_t write_errno, sync_errno, stall_ms, shift_ms;
  volatile int64_t writes_failed, syncs_failed, syncs_stalled;
  char gap[200];
  char target[256];
};

static struct control *control;
static const char *shadow;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off64_t);
static int (*real_sync)(int);
static int (*real_truncate)(int, off64_t);
static int (*real_open)(const char *, int, ...);
static int (*real_openat)(int, const char *, int, ...);
static int (*real_unlink)(const char *);
static int (*real_clock)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
  real_write = dlsym(RTLD_NEXT, "write");
  real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
  real_sync = dlsym(RTLD_NEXT, "fdatasync");
  real_truncate = dlsym(RTLD_NEXT, "ftruncate64");
  real_open = dlsym(RTLD_NEXT, "open64");
  real_openat = dlsym(RTLD_NEXT, "openat64");
  real_unlink = dlsym(RTLD_NEXT, "unlink");
  real_clock = dlsym(RTLD_NEXT, "clock_gettime");
  shadow = getenv("FAULT_SHADOW");
  const char *page = getenv("FAULT_CONTROL");
  int fd = page ? real_open(page, O_RDWR) : -1;
  if (fd < 0)
    return;
  void *mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (mapped != MAP_FAILED)
    control = mapped;
}

static int is_target(const char *path) {
  if (!control || !control->target[0])
    return 0;
  size_t end = strlen(control->target) - 1, length = strlen(path);
  if (control->target[end] != '$')
    return strstr(path, control->target) != NULL;
  return length >= end && !strncmp(path + length - end, control->target, end);
}

/* Whether the file is hit; its path. */
static int is_hit(int fd, char *path, size_t size) {
  if (!control || !control->target[0])
    return 0;
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, size - 1);
  if (length <= 0)
    return 0;
  path[length] = 0;
  return is_target(path);
}

static int fails(int64_t wanted, volatile int64_t *count) {
  if (!wanted)
    return 0;
  __sync_fetch_and_add(count, 1);
  errno = (int)wanted;
  return 1;
}

/* What was written and not yet synced, by file. */
struct op {
  struct op *next;
  off64_t offset;
  ssize_t length; /* -1: cut at the offset */
  char bytes[];
};
static struct {
  char name[64];
  struct op *first, **end;
} files[2];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int slot_of(const char *path) {
  const char *name = strrchr(path, '/') + 1;
  if (!shadow || (strcmp(name, "ledger.db") && strcmp(name, "ledger.db-wal")))
    return -1;
  for (int i = 0; i < 2; i++) {
    if (!files[i].name[0]) {
      snprintf(files[i].name, sizeof files[i].name, "%s", name);
      files[i].end = &files[i].first;
    }
    if (!strcmp(files[i].name, name))
      return i;
  }
  return -1;
}

static void remember(const char *path, const void *bytes, off64_t offset, ssize_t length) {
  pthread_mutex_lock(&lock);
  int slot = slot_of(path);
  if (slot >= 0) {
    struct op *op = malloc(sizeof *op + (length > 0 ? (size_t)length : 0));
    op->next = NULL, op->offset = offset, op->length = length;
    if (length > 0)
      memcpy(op->bytes, bytes, (size_t)length);
    *files[slot].end = op;
    files[slot].end = &op->next;
  }
  pthread_mutex_unlock(&lock);
}

/* Takes what waits for a sync of this file. */
static struct op *take(const char *path, char *copy, size_t size) {
  pthread_mutex_lock(&lock);
  int slot = slot_of(path);
  struct op *ops = NULL;
  if (slot >= 0) {
    ops = files[slot].first;
    files[slot].first = NULL;
    files[slot].end = &files[slot].first;
    snprintf(copy, size, "%s/%s", shadow, files[slot].name);
  }
  pthread_mutex_unlock(&lock);
  return ops;
}

static void settle(struct op *ops, const char *copy, int durable) {
  static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
  if (!ops)
    return;
  pthread_mutex_lock(&one_at_a_time);
  int fd = durable ? real_open(copy, O_RDWR | O_CREAT, 0600) : -1;
  while (ops) {
    struct op *next = ops->next;
    if (fd >= 0) {
      int failed = ops->length < 0 ? real_truncate(fd, ops->offset)
                                   : real_pwrite(fd, ops->bytes, (size_t)ops->length, ops->offset) != ops->length;
      if (failed)
        abort();
    }
    free(ops);
    ops = next;
  }
  if (fd >= 0)
    close(fd);
  pthread_mutex_unlock(&one_at_a_time);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
  char path[4096];
  if (!is_hit(fd, path, sizeof path))
    return real_pwrite(fd, bytes, length, offset);
  if (fails(control->write_errno, &control->writes_failed))
    return -1;
  ssize_t written = real_pwrite(fd, bytes, length, offset);
  if (written > 0 && shadow)
    remember(path, bytes, offset, written);
  return written;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return pwrite64(fd, bytes, length, offset); }

ssize_t write(int fd, const void *bytes, size_t length) {
  char path[4096];
  if (!is_hit(fd, path, sizeof path))
    return real_write(fd, bytes, length);
  if (fails(control->write_errno, &control->writes_failed))
    return -1;
  off64_t offset = lseek64(fd, 0, SEEK_CUR);
  ssize_t written = real_write(fd, bytes, length);
  if (written > 0 && shadow)
    remember(path, bytes, offset, written);
  return written;
}

int ftruncate64(int fd, off64_t length) {
  char path[4096];
  if (!is_hit(fd, path, sizeof path))
    return real_truncate(fd, length);
  if (fails(control->write_errno, &control->writes_failed))
    return -1;
  int cut = real_truncate(fd, length);
  if (!cut && shadow)
    remember(path, NULL, length, -1);
  return cut;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int fdatasync(int fd) {
  char path[4096], copy[4096];
  if (!is_hit(fd, path, sizeof path))
    return real_sync(fd);
  struct op *ops = take(path, copy, sizeof copy);
  if (control->stall_ms) {
    __sync_fetch_and_add(&control->syncs_stalled, 1);
    usleep((useconds_t)(control->stall_ms * 1000));
  }
  if (fails(control->sync_errno, &control->syncs_failed)) {
    settle(ops, copy, 0);
    errno = (int)control->sync_errno ? (int)control->sync_errno : EIO;
    return -1;
  }
  int synced = real_sync(fd);
  settle(ops, copy, synced == 0);
  return synced;
}

int fsync(int fd) { return fdatasync(fd); }

static int may_not_open(const char *path, int flags) {
  int writes = (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC);
  return writes && control && control->write_errno == EROFS && is_target(path) &&
         fails(EROFS, &control->writes_failed);
}

int open64(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  int mode = va_arg(more, int);
  va_end(more);
  return may_not_open(path, flags) ? -1 : real_open(path, flags, mode);
}

int open(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  int mode = va_arg(more, int);
  va_end(more);
  return open64(path, flags, mode);
}

int openat64(int folder, const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  int mode = va_arg(more, int);
  va_end(more);
  return may_not_open(path, flags) ? -1 : real_openat(folder, path, flags, mode);
}

int unlink(const char *path) {
  if (control && control->write_errno == EROFS && is_target(path) && fails(EROFS, &control->writes_failed))
    return -1;
  return real_unlink(path);
}

int clock_gettime(clockid_t clock, struct timespec *at) {
  if (!real_clock) /* somebody asks before we have begun */
    real_clock = dlsym(RTLD_NEXT, "clock_gettime");
  int failed = real_clock(clock, at);
  if (!failed && clock == CLOCK_REALTIME && control)
    at->tv_sec += control->shift_ms / 1000;
  return failed;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
  (void)zone;
  struct timespec now;
  int failed = clock_gettime(CLOCK_REALTIME, &now);
  at->tv_sec = now.tv_sec, at->tv_usec = now.tv_nsec / 1000;
  return failed;
}
