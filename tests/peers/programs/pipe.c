/* pipe HOST PORT: a TLS connection between standard input and output, with OpenSSL linked in. Built by tests/peers/pipe.py. */
#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    static char buffer[65536];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(argc > 2 ? atoi(argv[2]) : 0)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (argc < 3 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1 || connect(fd, (struct sockaddr *)&to, sizeof(to)))
        return 1;
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_clear_mode(context, SSL_MODE_AUTO_RETRY); /* a session ticket alone must not make a read wait for more */
    SSL *ssl = SSL_new(context);
    SSL_set_fd(ssl, fd);
    if (SSL_connect(ssl) != 1)
        return 2;
    struct pollfd both[2] = {{.fd = 0, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    for (;;) {
        if (!SSL_pending(ssl) && poll(both, 2, -1) < 0)
            return 3;
        if (both[0].revents) {
            ssize_t n = read(0, buffer, sizeof(buffer));
            if (n <= 0)
                break;
            if (SSL_write(ssl, buffer, n) != n)
                return 4;
        }
        if (both[1].revents || SSL_pending(ssl)) {
            int n = SSL_read(ssl, buffer, sizeof(buffer));
            if (n <= 0 && SSL_get_error(ssl, n) != SSL_ERROR_WANT_READ)
                break;
            for (int at = 0, done; at < n; at += done)
                if ((done = write(1, buffer + at, n - at)) <= 0)
                    return 5;
        }
        both[0].revents = both[1].revents = 0;
    }
    SSL_shutdown(ssl);
    return 0;
}
