/*
 * The one program of a lab guest: PID 1's body, started by `init`.
 *
 * Two processes.  The *reporter* (this process, PID 1) is small and locked in memory: it reads commands from the serial
 * line, follows the script and writes one JSON line a second, however starved the guest is.  The *holder*, its child,
 * owns the memory.  The guest's OOM killer therefore takes the holder, which is seen, counted and started again.
 * They share one page-locked struct; each field has one writer.
 *
 * Serial input, decimal numbers, one command a line (lab/script.py writes it; see `obey`):
 *   0                    forget the steps received so far
 *   1 OP SIZE HOT MS     append a step; SIZE in bytes (per second for LEAK), HOT in bytes or -1 for all, MS its duration
 *   2 ID COUNT LOOP      run the steps if COUNT arrived; ID is echoed as "script_id", the acknowledgement
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
#define CHUNK (2UL << 20)       /* grow and shrink by this: a huge page, so that what is held is exact */
#define REGION (64UL << 30)     /* address space only; the held memory is a prefix of it */
#define RING 512                /* touch rounds remembered between two reports; at most four a second happen */
#define MAX_STEPS 64
#define TICK_MS 100
#define REPORT_MS 1000
#define REST_MS 250             /* between touch rounds, and nine times the round itself: at most a tenth of a CPU */

enum op { HOLD = 1, GROW, BURST, CACHE, LEAK, TOUCHFREE };

struct step {
	int op;
	int64_t size, hot, ms;
};

/* Reporter -> holder: what to do.  Holder -> reporter: what was done. */
static struct shared {
	volatile int64_t target, hot;                   /* reporter writes */
	volatile uint64_t cache_job, cache_size;
	volatile uint64_t touchfree_job, touchfree_size;
	volatile int64_t held, cache_read;              /* holder writes */
	volatile uint64_t cache_done, touchfree_done;   /* last job finished; kept when the holder is killed */
	volatile int64_t round_began_us;                /* 0: between rounds */
	volatile uint64_t rounds;
	volatile int64_t round_us[RING];
} *shared;

static int64_t now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_BOOTTIME, &t);
	return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static uint64_t number_from_env(const char *name, uint64_t fallback)
{
	const char *text = getenv(name);
	return text ? strtoull(text, NULL, 10) : fallback;
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	if (fd >= 0) {
		if (write(fd, text, strlen(text)) < 0)
			perror(path);
		close(fd);
	}
}

/* ---- the holder ------------------------------------------------------------------------------------------------- */

static uint64_t noise[PAGE / 8];        /* one page of random words, from the guest's seed */
static uint64_t common[PAGE / 8];       /* another, the same in every guest */
static size_t common_of_8;              /* so many of every eight pages come from it */
static size_t noise_words;              /* how many of them go into a page: 512 incompressible, fewer compress, 0 zeros */
static bool touch_writes;

static void make_noise(uint64_t *words, uint64_t seed)
{
	for (size_t i = 0; i < PAGE / 8; i++) {         /* splitmix64 */
		uint64_t z = seed += 0x9e3779b97f4a7c15ULL;
		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
		z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
		words[i] = z ^ (z >> 31);
	}
}

/* The noise, changed by the page's number: no two pages of a guest are equal.  Common pages equal those of the same
 * number in all guests, as pages of one image do. */
static void fill(char *begin, char *end, uint64_t first_page)
{
	for (; begin < end; begin += PAGE) {
		const uint64_t *source = first_page % 8 < common_of_8 ? common : noise;
		uint64_t *word = (uint64_t *)begin, key = ++first_page * 0x9e3779b97f4a7c15ULL;
		*(volatile uint64_t *)word = 0;         /* the page comes into being even when zeros are asked for */
		for (size_t i = 0; i < noise_words; i++)
			word[i] = source[i] ^ key;
	}
}

static int64_t touch_round(char *region, int64_t bytes)
{
	int64_t began = now_us();
	shared->round_began_us = began;
	for (char *p = region; p < region + bytes; p += PAGE) {
		uint64_t word = *(volatile uint64_t *)p;
		if (touch_writes)
			*(volatile uint64_t *)p = word; /* dirty: a swapped-in page cannot be dropped for nothing */
	}
	int64_t took = now_us() - began;
	shared->round_began_us = 0;
	shared->round_us[shared->rounds % RING] = took;
	shared->rounds++;
	return took;
}

static void *reserve(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) {
		perror("mmap");
		_exit(1);
	}
	return p;
}

/* Touched and freed at once: the guest has it free again, the host still has it resident. */
static void touch_and_free(size_t bytes)
{
	char *p = reserve(bytes);
	fill(p, p + bytes, 1ULL << 40);
	munmap(p, bytes);
}

/* One step towards the target; false when there. */
static bool move_held(char *region)
{
	int64_t target = shared->target, held = shared->held;
	if (held > target) {
		madvise(region + target, held - target, MADV_DONTNEED);
		shared->held = target;
		return true;
	}
	if (held < target) {
		fill(region + held, region + held + CHUNK, held / PAGE);
		shared->held = held + CHUNK;
		return true;
	}
	return false;
}

/* One read of the cache job; false when there is none.  The data stay in the guest's page cache. */
static bool read_some(int disk, char *buffer)
{
	static uint64_t job;
	static int64_t at;
	if (shared->cache_done == shared->cache_job)
		return false;
	if (job != shared->cache_job) {
		job = shared->cache_job;
		at = 0;
	}
	ssize_t got = at < (int64_t)shared->cache_size ? pread(disk, buffer, 1 << 20, at) : 0;
	if (got <= 0) {
		shared->cache_done = job;
		return false;
	}
	at += got;
	shared->cache_read += got;
	return true;
}

static void holder(void)
{
	static char buffer[1 << 20];
	char *region = reserve(REGION);
	int disk = open("/dev/vda", O_RDONLY);
	int64_t next_round = 0;

	write_file("/proc/self/oom_score_adj", "1000");
	shared->held = shared->round_began_us = 0;
	for (;;) {
		bool busy = move_held(region);
		busy |= read_some(disk, buffer);
		if (shared->touchfree_done != shared->touchfree_job) {
			uint64_t job = shared->touchfree_job;
			shared->touchfree_done = job;   /* before: a job that kills the holder is not tried for ever */
			touch_and_free(shared->touchfree_size);
		}
		int64_t hot = shared->hot < 0 || shared->hot > shared->held ? shared->held : shared->hot;
		if (hot && now_us() >= next_round) {
			int64_t rest = 9 * touch_round(region, hot);
			next_round = now_us() + (rest > REST_MS * 1000 ? rest : REST_MS * 1000);
		} else if (!busy) {
			usleep(10000);
		}
	}
}

/* ---- the reporter: script --------------------------------------------------------------------------------------- */

static struct step arriving[MAX_STEPS], steps[MAX_STEPS];
static int arrived, step_count, step_index;
static bool looping;
static uint64_t script_id;
static int64_t step_began_ms, base;     /* base: the target when the step began */

static void set_target(int64_t bytes)
{
	int64_t limit = REGION;
	bytes = bytes < 0 ? 0 : bytes > limit ? limit : bytes;
	shared->target = (bytes + CHUNK - 1) / CHUNK * CHUNK;
}

static void enter_step(void)
{
	if (step_index == step_count && looping)
		step_index = 0;
	if (step_index == step_count)
		return;
	struct step *s = &steps[step_index];
	base = shared->target;
	if (s->op == HOLD || s->op == GROW)
		shared->hot = s->hot;
	if (s->op == CACHE) {
		shared->cache_size = s->size;
		shared->cache_job++;
	}
	if (s->op == TOUCHFREE) {
		shared->touchfree_size = s->size;
		shared->touchfree_job++;
	}
}

/* Follow the script to `now_ms`.  A step begins where the last one should have ended, so guests keep their phase. */
static void follow(int64_t now_ms)
{
	for (int guard = 0; step_index < step_count && guard < 4 * MAX_STEPS; guard++) {
		struct step *s = &steps[step_index];
		int64_t in = now_ms - step_began_ms;
		bool over = in >= s->ms && !(s->op == LEAK && !s->ms);  /* a leak without an end leaks for ever */
		int64_t at = over ? s->ms : in;

		if (s->op == HOLD)
			set_target(s->size);
		else if (s->op == GROW)
			set_target(s->ms ? base + (int64_t)((double)(s->size - base) * at / s->ms) : s->size);
		else if (s->op == BURST)
			set_target(over ? base : base + s->size);
		else if (s->op == LEAK)
			set_target(base + s->size * at / 1000);
		if (!over)
			return;
		step_began_ms += s->ms;
		step_index++;
		enter_step();
	}
}

static void obey(const char *line, int64_t now_ms)
{
	long long n[5] = {0};
	int count = sscanf(line, "%lld %lld %lld %lld %lld", &n[0], &n[1], &n[2], &n[3], &n[4]);
	if (count == 1 && n[0] == 0)
		arrived = 0;
	else if (count == 5 && n[0] == 1 && arrived < MAX_STEPS)
		arriving[arrived++] = (struct step){n[1], n[2], n[3], n[4]};
	else if (count == 4 && n[0] == 2 && n[2] == arrived) {
		memcpy(steps, arriving, sizeof steps);
		step_count = arrived;
		step_index = 0;
		step_began_ms = now_ms;
		script_id = n[1];
		looping = n[3];
		enter_step();
	}
}

/* True when a new script came, which is worth a report at once. */
static bool read_commands(int tty, int64_t now_ms)
{
	uint64_t before = script_id;
	static char line[128];
	static size_t used;
	char c;
	while (read(tty, &c, 1) == 1) {
		if (c == '\n') {
			line[used < sizeof line ? used : 0] = 0;        /* too long: drop it whole */
			obey(line, now_ms);
			used = 0;
		} else if (used < sizeof line) {
			line[used++] = c;
		}
	}
	return script_id != before;
}

/* ---- the reporter: report --------------------------------------------------------------------------------------- */

static const char *slurp(const char *path)
{
	static char text[16384];
	int fd = open(path, O_RDONLY);
	ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (fd >= 0)
		close(fd);
	text[got > 0 ? got : 0] = 0;
	return text;
}

/* Sum of the numbers of all lines that begin with `key` (vmstat splits allocstall by zone). */
static int64_t sum_of(const char *text, const char *key)
{
	int64_t sum = 0;
	for (const char *at = text; (at = strstr(at, key)); at++)
		if (at == text || at[-1] == '\n')
			sum += atoll(at + strcspn(at, " "));
	return sum;
}

/* "N" or "null": the pressure file's cumulative stall time in microseconds; absent is not zero. */
static const char *stall(const char *text, const char *kind, char *out, size_t size)
{
	const char *at = strstr(text, kind);
	at = at ? strstr(at, "total=") : NULL;
	if (!at)
		return "null";
	snprintf(out, size, "%lld", atoll(at + 6));
	return out;
}

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

static void report(int tty, uint64_t kills)
{
	static uint64_t reported_rounds;
	static int64_t us[RING];
	static char out[2048], some[24], full[24];
	const char *text;
	int at = 0;
	uint64_t rounds = shared->rounds;
	size_t n = rounds - reported_rounds < RING ? rounds - reported_rounds : RING;
	int64_t began = shared->round_began_us;

#define ADD(...) at += snprintf(out + at, sizeof out - at, __VA_ARGS__)
	for (size_t i = 0; i < n; i++)
		us[i] = shared->round_us[(rounds - 1 - i) % RING];
	qsort(us, n, sizeof us[0], by_value);
	reported_rounds = rounds;

	ADD("{\"uptime_s\":%.2f", now_us() / 1e6);
	text = slurp("/proc/meminfo");
	ADD(",\"mem_total_bytes\":%lld,\"mem_available_bytes\":%lld,\"mem_free_bytes\":%lld,\"cached_bytes\":%lld",
	    sum_of(text, "MemTotal:") * 1024LL, sum_of(text, "MemAvailable:") * 1024LL,
	    sum_of(text, "MemFree:") * 1024LL, (sum_of(text, "Cached:") + sum_of(text, "Buffers:")) * 1024LL);
	ADD(",\"swap_total_bytes\":%lld,\"swap_used_bytes\":%lld", sum_of(text, "SwapTotal:") * 1024LL,
	    (sum_of(text, "SwapTotal:") - sum_of(text, "SwapFree:")) * 1024LL);
	text = slurp("/proc/vmstat");
	ADD(",\"swap_in_pages\":%lld,\"swap_out_pages\":%lld,\"major_faults\":%lld,\"alloc_stalls\":%lld,\"oom_kills\":%lld",
	    (long long)sum_of(text, "pswpin "), (long long)sum_of(text, "pswpout "),
	    (long long)sum_of(text, "pgmajfault "), (long long)sum_of(text, "allocstall"),
	    (long long)sum_of(text, "oom_kill "));
	text = slurp("/proc/pressure/memory");
	ADD(",\"psi_some_us\":%s", stall(text, "some", some, sizeof some));
	ADD(",\"psi_full_us\":%s", stall(text, "full", full, sizeof full));
	ADD(",\"anon_bytes\":%lld,\"target_bytes\":%lld,\"hot_bytes\":%lld,\"cache_read_bytes\":%lld",
	    (long long)shared->held, (long long)shared->target,
	    (long long)(shared->hot < 0 || shared->hot > shared->held ? shared->held : shared->hot),
	    (long long)shared->cache_read);
	ADD(",\"rounds\":%llu", (unsigned long long)rounds);
	if (n)
		ADD(",\"touch_p50_ms\":%.3f,\"touch_p99_ms\":%.3f,\"touch_max_ms\":%.3f", us[n / 2] / 1e3,
		    us[(n * 99 + 99) / 100 - 1] / 1e3, us[n - 1] / 1e3);
	ADD(",\"round_age_ms\":%lld", began ? (long long)(now_us() - began) / 1000 : 0LL);
	ADD(",\"workload_kills\":%llu,\"script_id\":%llu,\"step\":%d}\n", (unsigned long long)kills,
	    (unsigned long long)script_id, step_index);
#undef ADD
	for (int done = 0, got; done < at; done += got) {
		got = write(tty, out + done, at - done);
		if (got <= 0) {                         /* line full: wait for room */
			poll(&(struct pollfd){tty, POLLOUT, 0}, 1, TICK_MS);
			got = 0;
		}
	}
}

static int open_serial(void)
{
	struct termios raw;
	int tty = open("/dev/ttyS0", O_RDWR | O_NOCTTY | O_NONBLOCK);
	tcgetattr(tty, &raw);
	cfmakeraw(&raw);
	cfsetspeed(&raw, B115200);
	tcsetattr(tty, TCSANOW, &raw);
	return tty;
}

static pid_t start_holder(void)
{
	pid_t pid = fork();
	if (pid == 0) {
		holder();
		_exit(0);
	}
	return pid;
}

int main(void)
{
	int tty = open_serial();
	uint64_t kills = 0;
	int64_t next_report = 0, next_start = 0;
	pid_t child = -1;

	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	shared->hot = -1;
	make_noise(noise, number_from_env("LAB_SEED", 1));
	make_noise(common, 0);
	common_of_8 = number_from_env("LAB_COMMON_OF_8", 0);
	noise_words = number_from_env("LAB_NOISE_BYTES", PAGE) / 8;
	touch_writes = number_from_env("LAB_TOUCH_WRITES", 1);
	write_file("/proc/self/oom_score_adj", "-1000");
	if (mlockall(MCL_CURRENT | MCL_FUTURE))         /* not inherited by the holder */
		perror("mlockall");

	for (;;) {
		int64_t now_ms = now_us() / 1000;
		int status;
		pid_t dead;
		while ((dead = waitpid(-1, &status, WNOHANG)) > 0)
			if (dead == child) {
				kills++;
				child = -1;
				next_start = now_ms + 1000;     /* a target that cannot fit must not become a fork storm */
			}
		if (child < 0 && now_ms >= next_start)
			child = start_holder();
		if (read_commands(tty, now_ms))
			next_report = 0;
		follow(now_ms);
		if (now_ms >= next_report) {
			report(tty, kills);
			next_report = now_ms - now_ms % REPORT_MS + REPORT_MS;
		}
		poll(&(struct pollfd){tty, POLLIN, 0}, 1, TICK_MS);
	}
}
