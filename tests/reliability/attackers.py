"""Processes that hold connections of a server: ``python attackers.py KIND PORT COUNT SECONDS``; the figures at the end are JSON.

``idle`` sends nothing; ``drip`` a header, ``body`` a body, a byte each second; ``deaf`` asks much and reads nothing. A connection
that the server closes is opened again: so many a second in all, that this process and the server have the processors they need.
"""

import json
import resource
import select
import socket
import sys
import time
from contextlib import suppress

RATE = {"idle": 2000, "drip": 1000, "body": 500, "deaf": 500}
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
FIRST = {
    "idle": b"",
    "drip": HEAD + b"x: ",
    "body": HEAD + b"Content-Length: 100000\r\n\r\n{",
    "deaf": b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n" * 2000,
}


class Attack:
    """As many connections as the server lets it have."""

    def __init__(self, kind: str, port: int, count: int) -> None:
        self.kind, self.port, self.count = kind, port, count
        self.held: dict[int, socket.socket] = {}
        self.poll = select.epoll()
        self.opened = self.closed = self.most = 0

    def open(self) -> None:
        """One more, without waiting for it."""
        client = socket.socket()
        client.setblocking(False)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect_ex(("127.0.0.1", self.port))
        self.held[client.fileno()] = client
        self.poll.register(client, select.EPOLLOUT if FIRST[self.kind] else select.EPOLLRDHUP)
        self.opened += 1

    def turn(self) -> None:
        """Answer what happened: connected ones send, closed ones are forgotten."""
        for number, event in self.poll.poll(0.02, 1000):
            if event & (select.EPOLLHUP | select.EPOLLRDHUP | select.EPOLLERR):
                self.poll.unregister(number)
                self.held.pop(number).close()
                self.closed += 1
            elif event & select.EPOLLOUT:
                self.send(number, FIRST[self.kind])
                self.poll.modify(number, select.EPOLLRDHUP)

    def send(self, number: int, data: bytes) -> None:
        """As much as the system takes."""
        with suppress(OSError):
            self.held[number].send(data)

    def drip(self) -> None:
        """A byte on each."""
        if self.kind in ("drip", "body"):
            for number in list(self.held):
                self.send(number, b"x")


def main(kind: str, port: int, count: int, seconds: float) -> None:
    """Attack for so long."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    attack, begin, dripped = Attack(kind, port, count), time.monotonic(), 0
    while (now := time.monotonic() - begin) < seconds:
        while len(attack.held) < count and attack.opened < now * RATE[kind]:
            attack.open()
        attack.most = max(attack.most, len(attack.held))
        attack.turn()
        if now > dripped + 1:
            attack.drip()
            dripped = now
    print(json.dumps({"opened": attack.opened, "closed": attack.closed, "most": attack.most}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
