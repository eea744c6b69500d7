/* The most memory that a process and all that it started have held together, sampled until there is no more input.
 *
 *     cc -O2 -o peak_memory peak_memory.c && ./peak_memory PID [interval_ms]
 *
 * It prints the peak in kB and how many samples it was taken of. A page that several processes share counts in parts
 * (the kernel's "proportional set size"), so that the sum over the processes is what they take of the machine. A process
 * that outlives its parent is followed on.
 */
#include <ctype.h>
#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 1 << 16 };

static int known[MOST]; /* process ids of the tree */
static int known_count;
static int pids[MOST], parents[MOST];

static int is_known(int pid) {
  for (int at = 0; at < known_count; at++)
    if (known[at] == pid) return 1;
  return 0;
}

static int parent_of(int pid) {
  char path[64], line[512];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  FILE *file = fopen(path, "r");
  if (!file) return -1;
  size_t had = fread(line, 1, sizeof line - 1, file);
  fclose(file);
  line[had] = 0;
  char *end = strrchr(line, ')'); /* a program's name may have brackets of its own */
  int parent;
  return end && sscanf(end + 1, " %*c %d", &parent) == 1 ? parent : -1;
}

static long pss_kb_of(int pid) {
  char path[64], line[256];
  long found;
  snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
  FILE *file = fopen(path, "r");
  if (!file) return -1;
  while (fgets(line, sizeof line, file))
    if (sscanf(line, "Pss: %ld kB", &found) == 1) {
      fclose(file);
      return found;
    }
  fclose(file);
  return -1;
}

static void look_for_children(void) {
  int count = 0;
  DIR *folder = opendir("/proc");
  for (struct dirent *entry; folder && (entry = readdir(folder)) && count < MOST;)
    if (isdigit((unsigned char)entry->d_name[0])) {
      pids[count] = atoi(entry->d_name);
      parents[count] = parent_of(pids[count]);
      count++;
    }
  if (folder) closedir(folder);
  for (int is_more = 1; is_more;) {
    is_more = 0;
    for (int at = 0; at < count; at++)
      if (known_count < MOST && is_known(parents[at]) && !is_known(pids[at])) {
        known[known_count++] = pids[at];
        is_more = 1;
      }
  }
}

static long now_kb(void) {
  long sum = 0;
  look_for_children();
  for (int at = 0; at < known_count;) {
    long found = pss_kb_of(known[at]);
    if (found < 0 && at > 0) { /* it has ended: another process may be given its number */
      known[at] = known[--known_count];
      continue;
    }
    sum += found > 0 ? found : 0;
    at++;
  }
  return sum;
}

int main(int count, char **words) {
  if (count < 2) return 2;
  known[known_count++] = atoi(words[1]);
  int interval = count > 2 ? atoi(words[2]) : 50;
  long peak = 0, samples = 0;
  struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
  for (int is_over = 0; !is_over; samples++) { /* once more at the end */
    is_over = samples && poll(&input, 1, interval) != 0;
    long found = now_kb();
    if (found > peak) peak = found;
  }
  printf("%ld %ld\n", peak, samples);
  return 0;
}
