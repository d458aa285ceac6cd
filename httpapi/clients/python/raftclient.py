"""A client of a service that speaks as package httpapi does. It needs the standard library alone.

    with Client(["127.0.0.1:8001", "127.0.0.1:8002", "127.0.0.1:8003"]) as client:
        client.post("/counter", {"add": 5})  # {"value": 5}
        client.get("/counter")               # {"value": 5}

A command is carried out exactly once: the client sends it to one server after the other, under one
Idempotency-Key, until a server knows its result. Several threads may use a Client.
"""

import http.client
import json
import threading
import time


class Failure(Exception):
    """A request that failed. code is for programs; status is that of HTTP, 0 if there was no answer."""

    def __init__(self, message, code="", status=0):
        super().__init__(message)
        self.code, self.status = code, status


class NotApplied(Failure):
    """The request has changed nothing, and never will. It is safe to make it again."""


class NoLeader(NotApplied):
    """There was no leader in time, or no server that could be reached."""


class Refused(Failure):
    """The command was carried out in its turn, and the service has refused it."""


class OutcomeUnknown(Failure):
    """The command may have been applied, or may be later. No copy of it is on its way any more
    that the client would hear of."""


class _Session:
    def __init__(self, name):
        self.name, self.next, self.open = name, 1, {}  # open are the numbers without a result, in order


class Client:
    """servers are "host:port". timeout is how long a request is repeated, and attempt how long one
    server may take to answer, in seconds; it should be longer than the servers' own timeout. tls is
    an ssl.SSLContext for HTTPS."""

    LIMIT = 256  # how far the numbers of a session's open commands may be apart

    def __init__(self, servers, timeout=30.0, attempt=10.0, tls=None):
        self._servers, self._timeout, self._attempt, self._tls = list(servers), timeout, attempt, tls
        self._at = 0  # the server that has answered last
        self._idle = {server: [] for server in servers}  # connections
        self._session, self._changed, self._opening = None, threading.Condition(), threading.Lock()
        self.repeated = 0  # how many copies were sent beside the first ones

    def get(self, path):
        """Returns the answer to a request that changes nothing."""
        return self._request("GET", path, None)

    def post(self, path, body=None):
        """Carries out a command, exactly once, and returns its answer."""
        session, number = self._begin()
        try:
            return self._request("POST", path, body, session, number)
        finally:
            with self._changed:
                del session.open[number]
                self._changed.notify_all()

    def close(self):
        """Closes the session: the servers forget its results. It needn't be closed: it expires."""
        session, self._session = self._session, None
        try:
            if session:
                self._request("DELETE", "/sessions/" + session.name, None)
        except Failure:
            pass
        for connections in self._idle.values():
            while connections:
                connections.pop().close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _begin(self):
        """Returns the session, and the number of the next command."""
        with self._opening:
            session = self._session
            if not session:
                session = self._session = _Session(self._request("POST", "/sessions", None)["session"])
        with self._changed:
            self._changed.wait_for(lambda: session.next - next(iter(session.open), session.next) < self.LIMIT)
            session.next += 1
            session.open[session.next - 1] = True
            return session, session.next - 1

    def _request(self, method, path, body, session=None, number=0):
        deadline, at, pause = time.monotonic() + self._timeout, self._at, 0.05
        data = None if body is None else json.dumps(body).encode()
        maybe = False  # an earlier copy may have been applied
        for copy in range(1 << 62):
            self.repeated += copy > 0
            headers = {"Content-Type": "application/json"} if data else {}
            if session:
                with self._changed:
                    lowest = next(iter(session.open))
                headers["Idempotency-Key"] = f'"{session.name}-{number}";lowest={lowest}'
            status, answer, sent = self._send(self._servers[at], method, path, data, headers)
            code, outcome = answer.get("code", ""), answer.get("outcome", "unknown")
            failure = answer.get("error", f"status {status}"), code, status
            if 200 <= status < 300:
                self._at = at
                return answer
            if outcome == "refused":
                raise Refused(*failure)
            if status == 410 and session is self._session:
                self._session = None  # the next command opens another one
            if 400 <= status < 500 and status != 408:  # to send it again makes no difference
                raise (OutcomeUnknown if maybe else NotApplied)(*failure)
            maybe |= session is not None and sent and outcome == "unknown"
            if time.monotonic() + pause > deadline:
                if maybe:
                    raise OutcomeUnknown(*failure)
                raise (NoLeader if code in ("no_leader", "no_server") else NotApplied)(*failure)
            at = (at + 1) % len(self._servers)
            if (copy + 1) % len(self._servers) == 0:  # all of them were asked
                time.sleep(pause)
                pause = min(2 * pause, 1)

    def _send(self, server, method, path, data, headers):
        """Returns the status (0 for no answer), the answer, and whether the request was sent."""
        try:
            connection = self._idle[server].pop()
        except IndexError:
            kind = http.client.HTTPSConnection if self._tls else http.client.HTTPConnection
            connection = kind(server, timeout=self._attempt, **({"context": self._tls} if self._tls else {}))
        sent = False
        try:
            if connection.sock is None:
                connection.connect()
            sent = True
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            status, text = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return 0, {"error": f"{server}: {error!r}", "code": "no_answer" if sent else "no_server"}, sent
        self._idle[server].append(connection)
        try:
            answer = json.loads(text) if text else {}
        except ValueError:
            answer = None
        if isinstance(answer, dict):
            return status, answer, sent
        return 0, {"error": f"{server}: status {status}, and no JSON", "code": "no_answer"}, sent
