/* Moves the clock of a process, for clock.py: cc -shared -fPIC -O2 -o clock.so clock.c, then LD_PRELOAD=clock.so.

   The file that CLOCK_OFFSET names holds a double, the seconds by which the wall clock is ahead. The process maps it, so
   a new value counts at once. Waits that end at a point in time of the wall clock are moved back, because the kernel
   knows the true time only; libfaketime does not do so for the futexes of gRPC, which then wait for ever. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* Seconds after which a wait looks whether the clock was moved. */
#define SLICE 0.1

/* A point in time of the wall clock, and not of the monotonic one, which counts from the start of the machine. */
#define IS_WALL(t) ((t)->tv_sec > 500000000)

static const volatile double *offset;
static long (*true_syscall)(long, ...);

__attribute__((constructor)) static void start(void) {
    true_syscall = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    const char *path = getenv("CLOCK_OFFSET");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *map = mmap(NULL, sizeof(double), PROT_READ, MAP_SHARED, file, 0);
    if (map != MAP_FAILED) offset = map;
    close(file);
}

static struct timespec *move(struct timespec *t, double seconds) {
    double whole = floor(seconds);
    t->tv_sec += (time_t)whole;
    t->tv_nsec += (long)((seconds - whole) * 1e9);
    if (t->tv_nsec >= 1000000000) t->tv_nsec -= 1000000000, t->tv_sec++;
    return t;
}

static const struct timespec *back(const struct timespec *t, struct timespec *moved) {
    if (!t || !offset || !IS_WALL(t)) return t;
    *moved = *t;
    return move(moved, -*offset);
}

int clock_gettime(clockid_t clock, struct timespec *t) {
    static int (*next)(clockid_t, struct timespec *);
    if (!next) next = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = next(clock, t);
    if (result == 0 && offset && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) move(t, *offset);
    return result;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone) {
    (void)zone;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    t->tv_sec = now.tv_sec;
    t->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *t) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (t) *t = now.tv_sec;
    return now.tv_sec;
}

int pthread_cond_timedwait(pthread_cond_t *restrict c, pthread_mutex_t *restrict m, const struct timespec *restrict t) {
    static int (*next)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    /* By default the loader would take the oldest version, whose condition variables are others. */
    if (!next) next = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (!next) next = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    struct timespec moved;
    return next(c, m, back(t, &moved));
}

int sem_timedwait(sem_t *restrict s, const struct timespec *restrict t) {
    static int (*next)(sem_t *, const struct timespec *);
    if (!next) next = dlsym(RTLD_NEXT, "sem_timedwait");
    struct timespec moved;
    return next(s, back(t, &moved));
}

/* How Python waits with a timeout. A wait whose end the moved clock has passed is over: whoever sleeps until the next
   minute wakes up when the clock is put there. */
int sem_clockwait(sem_t *restrict s, clockid_t clock, const struct timespec *restrict t) {
    static int (*next)(sem_t *, clockid_t, const struct timespec *);
    if (!next) next = dlsym(RTLD_NEXT, "sem_clockwait");
    if (!offset || clock != CLOCK_MONOTONIC) return next(s, clock, t);
    for (double began = *offset;;) {
        struct timespec slice;
        clock_gettime(CLOCK_MONOTONIC, &slice);
        double left = (double)(t->tv_sec - slice.tv_sec) + (double)(t->tv_nsec - slice.tv_nsec) / 1e9 - (*offset - began);
        if (next(s, clock, move(&slice, fmax(0, fmin(left, SLICE)))) == 0) return 0;
        if (errno != ETIMEDOUT || left <= SLICE) return -1;
    }
}

long syscall(long number, ...) {
    long a[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
    va_end(list);
    struct timespec moved;
    if (number == SYS_futex && ((int)a[1] & FUTEX_CLOCK_REALTIME)) a[3] = (long)back((const struct timespec *)a[3], &moved);
    if (!true_syscall) true_syscall = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    return true_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
