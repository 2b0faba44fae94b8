"""Locust users of the measures; the command line names one class. Locust has no WebSocket user of its own: they use
the package websocket-client, whose sockets Locust's gevent makes cooperative, and fire Locust's `request` event.
"""

import os
import random

import gevent
from locust import User, constant_throughput, events, task
from websocket import create_connection

TEXT = '{"text":"01234567890123456789012345678901234567890123456789012"}'


@events.init.add_listener
def hold(**_):
    """For the memory before the first connection: everything is loaded, nothing is open."""
    gevent.sleep(float(os.environ.get("HOLD_SECONDS", "0")))


class Connected(User):
    abstract = True

    def on_start(self):
        self.socket = create_connection(self.host)

    def round_trip(self):
        with self.environment.events.request.measure("WS", "echo"):
            self.socket.send(TEXT)
            self.socket.recv()


class Echo(Connected):
    """Closed loop."""

    @task
    def echo(self):
        self.round_trip()


class Rate(Connected):
    """A fixed rate per user; a user that is late for one message sends the next one at once, and no more than that."""

    wait_time = constant_throughput(float(os.environ.get("PER_USER", "1")))

    @task
    def echo(self):
        self.round_trip()


class Idle(Connected):
    @task
    def wait(self):
        self.socket.recv()


class Open(User):
    @task
    def open(self):
        with self.environment.events.request.measure("WS", "open"):
            socket = create_connection(self.host.replace("127.0.0.1", f"127.0.0.{random.randint(1, 4)}"))
        # Without the closing handshake, like a connection that is dropped.
        socket.shutdown()
