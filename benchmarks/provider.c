/* A provider that costs next to nothing, so that what a benchmark measures is the client.
 *
 *     cc -O2 -o provider provider.c -lm && ./provider [median_ms [sigma [label]]]
 *
 * It prints the port it listens on, at 127.0.0.1, and answers every POST with the same chat completion and every GET with a
 * list of models: at once, or after a lognormal time (median and sigma of its logarithm; the n-th request waits as long
 * in every run). A request that says `takes_ms=312` anywhere waits for so long instead. A GET of `/totals` tells when the first
 * completion was asked for and the last was answered, and how many were in flight at once; at the end of its input it prints
 * how many completions it has answered. One thread, epoll.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { MOST_CONNECTIONS = 65536, ROOM = 1 << 16 };

typedef struct {
  char *bytes; /* what has come of the request */
  size_t had;
} Connection;

typedef struct {
  int64_t due_ns;
  int socket;
} Waiting;

static Connection connections[MOST_CONNECTIONS];
static Waiting waiting[MOST_CONNECTIONS]; /* a heap, the first due on top */
static size_t waiting_count;
static uint64_t completions;
static size_t peak_in_flight;
static int64_t first_arrival_ns, last_departure_ns;
static char answer[2048], models[512];
static size_t answer_length, models_length;
static double median_ms, sigma;

static int64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static double unit(uint64_t number) { /* splitmix64 */
  number += 0x9e3779b97f4a7c15ULL;
  number = (number ^ (number >> 30)) * 0xbf58476d1ce4e5b9ULL;
  number = (number ^ (number >> 27)) * 0x94d049bb133111ebULL;
  return ((number ^ (number >> 31)) >> 11) * 0x1.0p-53;
}

static int64_t latency_ns(uint64_t number) {
  double first = unit(2 * number), second = unit(2 * number + 1);
  double normal = sqrt(-2 * log(1 - first)) * cos(2 * M_PI * second);
  return (int64_t)(median_ms * 1e6 * exp(sigma * normal));
}

static void push(Waiting one) {
  size_t at = waiting_count++;
  while (at && waiting[(at - 1) / 2].due_ns > one.due_ns) {
    waiting[at] = waiting[(at - 1) / 2];
    at = (at - 1) / 2;
  }
  waiting[at] = one;
}

static Waiting pop(void) {
  Waiting top = waiting[0], last = waiting[--waiting_count];
  size_t at = 0;
  for (;;) {
    size_t child = 2 * at + 1;
    if (child >= waiting_count) break;
    if (child + 1 < waiting_count && waiting[child + 1].due_ns < waiting[child].due_ns) child++;
    if (waiting[child].due_ns >= last.due_ns) break;
    waiting[at] = waiting[child];
    at = child;
  }
  if (waiting_count) waiting[at] = last;
  return top;
}

static void forget(int socket) {
  free(connections[socket].bytes);
  connections[socket] = (Connection){0};
  for (size_t at = 0; at < waiting_count; at++)
    if (waiting[at].socket == socket) waiting[at].socket = -1; /* nobody is there any more */
  close(socket);
}

static void respond(int socket, const char *bytes, size_t length) {
  if (send(socket, bytes, length, MSG_NOSIGNAL) != (ssize_t)length) forget(socket);
}

static void complete(int socket) {
  completions++;
  respond(socket, answer, answer_length);
  last_departure_ns = now_ns();
}

static void tell_totals(int socket);

/* How long a request waits: as it says itself, or by its number. */
static int64_t wait_ns(const char *request) {
  const char *told = strstr(request, "takes_ms=");
  if (told) return (int64_t)(atof(told + 9) * 1e6);
  return median_ms > 0 ? latency_ns(completions + waiting_count) : 0;
}

/* Takes whole requests off a connection's bytes, and answers each. */
static void take(int socket) {
  Connection *connection = &connections[socket];
  while (connection->bytes) {
    connection->bytes[connection->had] = 0;
    char *end = strstr(connection->bytes, "\r\n\r\n");
    if (!end) return;
    size_t head = (size_t)(end + 4 - connection->bytes), body = 0;
    char *told = strcasestr(connection->bytes, "content-length:");
    if (told && told < end) body = strtoul(told + 15, NULL, 10);
    if (connection->had < head + body) return;
    int is_post = !strncmp(connection->bytes, "POST", 4);
    int is_of_totals = !strncmp(connection->bytes, "GET /totals", 11);
    char after = connection->bytes[head + body];
    connection->bytes[head + body] = 0;
    int64_t wait = is_post ? wait_ns(connection->bytes + head) : 0;
    connection->bytes[head + body] = after;
    connection->had -= head + body;
    memmove(connection->bytes, connection->bytes + head + body, connection->had);
    if (wait > 0 && !first_arrival_ns) first_arrival_ns = now_ns(); /* what is asked only for its headers takes no time */
    if (is_of_totals) tell_totals(socket);
    else if (!is_post) respond(socket, models, models_length);
    else if (wait <= 0) complete(socket);
    else push((Waiting){now_ns() + wait, socket});
    if (waiting_count > peak_in_flight) peak_in_flight = waiting_count;
  }
}

static void set_timer(int timer) {
  struct itimerspec when = {0};
  if (waiting_count) {
    when.it_value.tv_sec = waiting[0].due_ns / 1000000000LL;
    when.it_value.tv_nsec = waiting[0].due_ns % 1000000000LL;
  }
  timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static size_t http(char *to, size_t room, const char *body) {
  return (size_t)snprintf(to, room,
                          "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s",
                          strlen(body), body);
}

static void tell_totals(int socket) {
  char body[256], whole[512];
  snprintf(body, sizeof body, "{\"completions\":%llu,\"seconds\":%.6f,\"peak_in_flight\":%zu}",
           (unsigned long long)completions, (last_departure_ns - first_arrival_ns) / 1e9, peak_in_flight);
  respond(socket, whole, http(whole, sizeof whole, body));
}

int main(int count, char **words) {
  median_ms = count > 1 ? atof(words[1]) : 0;
  sigma = count > 2 ? atof(words[2]) : 0;
  char body[1024];
  snprintf(body, sizeof body,
           "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"gpt-4o-mini\","
           "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"%s\",\"refusal\":null},"
           "\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":60,\"completion_tokens\":2,"
           "\"total_tokens\":62,\"prompt_tokens_details\":{\"cached_tokens\":0},"
           "\"completion_tokens_details\":{\"reasoning_tokens\":0}}}",
           count > 3 ? words[3] : "sport");
  answer_length = http(answer, sizeof answer, body);
  models_length = http(models, sizeof models, "{\"object\":\"list\",\"data\":[{\"id\":\"gpt-4o-mini\",\"object\":\"model\"}]}");

  int yes = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 4096)) return 1;
  getsockname(listener, (struct sockaddr *)&address, &length);
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);

  int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), events = epoll_create1(0);
  int watched[] = {listener, timer, STDIN_FILENO};
  for (size_t at = 0; at < sizeof watched / sizeof *watched; at++)
    epoll_ctl(events, EPOLL_CTL_ADD, watched[at], &(struct epoll_event){.events = EPOLLIN, .data.fd = watched[at]});
  struct epoll_event came[256];
  for (;;) {
    int number = epoll_wait(events, came, 256, -1);
    for (int at = 0; at < number; at++) {
      int one = came[at].data.fd;
      if (one == STDIN_FILENO) {
        char nothing;
        if (read(one, &nothing, 1) > 0) continue;
        printf("%llu\n", (unsigned long long)completions);
        return 0;
      }
      if (one == listener) {
        for (int client; (client = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
          if (client >= MOST_CONNECTIONS) {
            close(client);
            continue;
          }
          setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
          connections[client] = (Connection){malloc(ROOM), 0};
          epoll_ctl(events, EPOLL_CTL_ADD, client, &(struct epoll_event){.events = EPOLLIN, .data.fd = client});
        }
      } else if (one == timer) {
        uint64_t times;
        if (read(timer, &times, sizeof times) < 0 && errno != EAGAIN) return 1;
      } else {
        Connection *connection = &connections[one];
        ssize_t got = recv(one, connection->bytes + connection->had, ROOM - 1 - connection->had, 0);
        if (got <= 0) {
          if (got == 0 || errno != EAGAIN) forget(one);
          continue;
        }
        connection->had += (size_t)got;
        take(one);
      }
    }
    int64_t now = now_ns();
    while (waiting_count && waiting[0].due_ns <= now) {
      Waiting due = pop();
      if (due.socket >= 0) complete(due.socket);
    }
    set_timer(timer);
  }
}
