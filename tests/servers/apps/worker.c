/* A worker on the real libsystemd: takes its sockets by sd_listen_fds_with_names(3), says READY=1 by sd_notify(3), and
 * answers one request after the other until SIGTERM. What is in the queue then is left to the next generation. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

static int fail(const char *what, int error) {
    fprintf(stderr, "worker.c: %s: %s\n", what, strerror(error));
    return 1;
}

static void answer(int connection) {
    static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n";
    char head[4096];
    size_t have = 0;
    while (have < sizeof head - 1) {
        ssize_t n = read(connection, head + have, sizeof head - 1 - have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        head[have += (size_t)n] = '\0';
        if (strstr(head, "\r\n\r\n")) {
            if (strncmp(head, "GET /slow ", 10) == 0)
                usleep(300 * 1000);
            if (write(connection, text, sizeof text - 1) < 0)
                perror("worker.c: write");
            break;
        }
    }
    close(connection);
}

int main(void) {
    sigset_t term;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, NULL);
    int signals = signalfd(-1, &term, SFD_CLOEXEC);
    if (signals < 0)
        return fail("signalfd", errno);

    char **names = NULL;
    int count = sd_listen_fds_with_names(0, &names); /* 0: the variables stay, so that it can be called twice */
    if (count < 0)
        return fail("sd_listen_fds_with_names", -count);
    if (count == 0 || sd_listen_fds(1) != count) {
        fprintf(stderr, "worker.c: %d sockets, then another number\n", count);
        return 1;
    }
    struct pollfd polled[16] = {{.fd = signals, .events = POLLIN}};
    for (int i = 0; i < count && i < 15; i++) {
        int fd = SD_LISTEN_FDS_START + i;
        int tcp = sd_is_socket_inet(fd, AF_UNSPEC, SOCK_STREAM, 1, 0) > 0;
        int unix_ = sd_is_socket_unix(fd, SOCK_STREAM, 1, NULL, 0) > 0;
        printf("%d %s %s\n", fd, names[i], tcp ? "tcp" : unix_ ? "unix" : "neither tcp nor unix");
        free(names[i]);
        /* another generation may take the connection that poll(2) has shown to this one: accept must not block */
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        polled[i + 1] = (struct pollfd){.fd = fd, .events = POLLIN};
    }
    free(names);
    printf("notified: %d\n", sd_notifyf(0, "STATUS=%d sockets\nREADY=1", count));
    fflush(stdout);

    for (;;) {
        if (poll(polled, (nfds_t)count + 1, -1) < 0 && errno != EINTR)
            return fail("poll", errno);
        if (polled[0].revents) { /* SIGTERM: nothing is under way here, for it answers one at a time */
            sd_notify(0, "STOPPING=1");
            return 0;
        }
        for (int i = 1; i <= count; i++) {
            if (!polled[i].revents)
                continue;
            int connection = accept4(polled[i].fd, NULL, NULL, SOCK_CLOEXEC);
            if (connection >= 0) /* else another generation was faster */
                answer(connection);
        }
    }
}
