"""A server that is restarted in the middle of a run: for a while its port is closed, or a gateway answers in its place."""

import socket
import threading

from servers.base import DROPPED, Endpoint, completion, error

CLOSED = "closed"
"""Nobody listens at the port; otherwise a status, that a gateway before the server answers."""


class Restarting(Endpoint):
    """Answers `before` requests, is gone for `seconds`, and goes on. Negative seconds: it does not come back."""

    def __init__(self, how, before=20, seconds=1.5):
        super().__init__()
        self.how, self.before, self.seconds = how, before, seconds
        self.turned_away = 0
        self._is_gone = threading.Event()
        self._is_back = threading.Event()

    def reply(self, call):
        """Answer it, unless the server is gone."""
        if call.number >= self.before:
            with self.lock:
                starts, _ = not self._is_gone.is_set(), self._is_gone.set()
            if starts:
                threading.Thread(target=self._restart, daemon=True).start()
        if call.number > self.before and not self._is_back.is_set():
            with self.lock:
                self.turned_away += 1
            if self.how == CLOSED:
                return DROPPED
            return error(self.how, "no healthy upstream", kind="server_error")
        return completion(call)

    def _restart(self):
        if self.how == CLOSED:
            self.shutdown()
            self.socket.close()
        if self.seconds < 0:
            return
        threading.Event().wait(self.seconds)
        self._is_back.set()
        if self.how == CLOSED:
            self.socket = socket.socket()
            self.server_bind()
            self.server_activate()
            threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
