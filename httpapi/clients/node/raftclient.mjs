// A client of a service that speaks as package httpapi does. It needs Node alone (18 or later).
//
//   const client = new Client(["127.0.0.1:8001", "127.0.0.1:8002", "127.0.0.1:8003"]);
//   await client.post("/counter", { add: 5 }); // { value: 5 }
//   await client.get("/counter"); // { value: 5 }
//   await client.close();
//
// A command is carried out exactly once: the client sends it to one server after the other, under
// one Idempotency-Key, until a server knows its result. Requests may be made at the same time.

/** A request that failed. code is for programs; status is that of HTTP, 0 if there was no answer. */
export class Failure extends Error {
  constructor(message, code = "", status = 0) {
    super(message);
    Object.assign(this, { name: new.target.name, code, status });
  }
}

/** The request has changed nothing, and never will. It is safe to make it again. */
export class NotApplied extends Failure {}

/** There was no leader in time, or no server that could be reached. */
export class NoLeader extends NotApplied {}

/** The command was carried out in its turn, and the service has refused it. */
export class Refused extends Failure {}

/** The command may have been applied, or may be later. No copy of it is on its way any more that
 *  the client would hear of. */
export class OutcomeUnknown extends Failure {}

const limit = 256; // how far the numbers of a session's open commands may be apart
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Client {
  #servers;
  #timeout;
  #attempt;
  #at = 0; // the server that has answered last
  #session; // a promise of { name, next, open }; open has the commands without a result, in order

  repeated = 0; // how many copies were sent beside the first ones

  /** servers are "host:port", or begin with "https://". timeout is how long a request is repeated,
   *  and attempt how long one server may take to answer, in milliseconds; it should be longer than
   *  the servers' own timeout. */
  constructor(servers, { timeout = 30_000, attempt = 10_000 } = {}) {
    this.#servers = servers.map((server) => (server.includes("://") ? server : `http://${server}`));
    [this.#timeout, this.#attempt] = [timeout, attempt];
  }

  /** Returns the answer to a request that changes nothing. */
  get(path) {
    return this.#request("GET", path);
  }

  /** Carries out a command, exactly once, and returns its answer. */
  async post(path, body) {
    const [session, number, done] = await this.#begin();
    try {
      return await this.#request("POST", path, body, session, number);
    } finally {
      session.open.delete(number);
      done();
    }
  }

  /** Closes the session: the servers forget its results. It needn't be closed: it expires. */
  async close() {
    const session = await this.#session?.catch(() => undefined);
    this.#session = undefined;
    if (session) await this.#request("DELETE", `/sessions/${session.name}`).catch(() => {});
  }

  async #begin() {
    const opening = (this.#session ??= this.#request("POST", "/sessions").then((opened) => ({ name: opened.session, next: 1, open: new Map() })));
    const session = await opening.catch((error) => {
      if (this.#session === opening) this.#session = undefined;
      throw error;
    });
    while (session.open.size && session.next - lowest(session) >= limit) await session.open.get(lowest(session));
    const number = session.next++;
    let done;
    session.open.set(number, new Promise((resolve) => (done = resolve)));
    return [session, number, done];
  }

  async #request(method, path, body, session, number) {
    const deadline = Date.now() + this.#timeout;
    const data = body === undefined ? undefined : JSON.stringify(body);
    let [at, pause, maybe] = [this.#at, 50, false]; // maybe: an earlier copy may have been applied
    for (let copy = 1; ; copy++) {
      if (copy > 1) this.repeated++;
      const headers = data ? { "Content-Type": "application/json" } : {};
      if (session) headers["Idempotency-Key"] = `"${session.name}-${number}";lowest=${lowest(session)}`;
      const { status, answer, sent = true } = await this.#send(this.#servers[at], path, { method, body: data, headers });
      const { code = "", outcome = "unknown", error = `status ${status}` } = answer;
      if (status >= 200 && status < 300) {
        this.#at = at;
        return answer;
      }
      if (outcome === "refused") throw new Refused(error, code, status);
      if (status === 410 && session === (await this.#session)) this.#session = undefined; // the next command opens another one
      if (status >= 400 && status < 500 && status !== 408) {
        throw new (maybe ? OutcomeUnknown : NotApplied)(error, code, status); // to send it again makes no difference
      }
      maybe ||= Boolean(session) && sent && outcome === "unknown";
      if (Date.now() + pause > deadline) {
        if (maybe) throw new OutcomeUnknown(error, code, status);
        throw new (["no_leader", "no_server"].includes(code) ? NoLeader : NotApplied)(error, code, status);
      }
      at = (at + 1) % this.#servers.length;
      if (copy % this.#servers.length === 0) { // all of them were asked
        await sleep(pause);
        pause = Math.min(2 * pause, 1000);
      }
    }
  }

  /** Returns the status (0 for no answer), the answer, and whether the request was sent. */
  async #send(server, path, request) {
    let response, text;
    try {
      response = await fetch(server + path, { ...request, signal: AbortSignal.timeout(this.#attempt) });
      text = await response.text();
    } catch (error) {
      const { syscall, code } = error.cause?.errors?.[0] ?? error.cause ?? {};
      const sent = syscall !== "connect" && syscall !== "getaddrinfo" && code !== "UND_ERR_CONNECT_TIMEOUT";
      return { status: 0, sent, answer: { error: `${server}: ${error.cause ?? error}`, code: sent ? "no_answer" : "no_server" } };
    }
    try {
      return { status: response.status, answer: Object(text ? JSON.parse(text) : {}) };
    } catch {
      return { status: 0, answer: { error: `${server}: status ${response.status}, and no JSON`, code: "no_answer" } };
    }
  }
}

const lowest = (session) => session.open.keys().next().value;
