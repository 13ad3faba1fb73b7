// The life of the WebSocket: connect, answer pings, notice silence, come back with backoff.

const CAP = 30_000; // milliseconds between two tries, at most
const STABLE = 60_000; // after so long a connection the backoff starts anew
// Close codes after which coming back makes no sense without the person.
const FINAL = new Map([[4001, "signed-out"], [4003, "deactivated"]]);

/**
 * Events: `open` (after welcome), `frame` (detail: one server frame), `state` (detail: {state, seconds}) with the states
 * connecting, connected, waiting, offline, signed-out, deactivated.
 */
export class Connection extends EventTarget {
  #socket = null;
  #tries = 0;
  #timer = null;
  #watchdog = null;
  #silence = 40_000;
  #openedAt = 0;
  #closed = true;
  #after = null; // a delay that the server asked for, milliseconds

  constructor() {
    super();
    addEventListener("online", () => this.#now());
    addEventListener("offline", () => this.#tell("offline"));
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.#now());
  }

  open() {
    this.#closed = false;
    this.#connect();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#watchdog);
    this.#socket?.close(1000);
    this.#socket = null;
  }

  get connected() {
    return this.#openedAt > 0;
  }

  /** Whether the frame was handed to an open socket. */
  send(frame) {
    if (!this.connected) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  #connect() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#tell("connecting");
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/ws`, ["chat.v1"]);
    this.#socket = socket;
    this.#watch();
    socket.onmessage = (event) => socket === this.#socket && this.#receive(JSON.parse(event.data));
    socket.onclose = (event) => socket === this.#socket && this.#lost(event.code);
  }

  #receive(received) {
    this.#watch();
    for (const frame of Array.isArray(received) ? received : [received]) {
      if (frame.type === "ping") this.#socket?.send(JSON.stringify({ type: "pong", id: frame.id }));
      else if (frame.type === "reconnect") this.#after = frame.after * 1000;
      else if (frame.type === "welcome") this.#welcome(frame);
      else this.dispatchEvent(new CustomEvent("frame", { detail: frame }));
    }
  }

  #welcome(frame) {
    this.#silence = frame.ping_interval * 2000;
    this.#openedAt = Date.now();
    this.#tell("connected");
    this.dispatchEvent(new Event("open"));
  }

  #watch() {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#lost(1006), this.#silence);
  }

  #lost(code) {
    const socket = this.#socket;
    this.#socket = null;
    clearTimeout(this.#watchdog);
    socket?.close();
    if (this.#openedAt && Date.now() - this.#openedAt > STABLE) this.#tries = 0;
    this.#openedAt = 0;
    if (this.#closed) return;
    if (FINAL.has(code)) {
      this.#closed = true;
      this.#tell(FINAL.get(code));
      return;
    }
    if (!navigator.onLine) {
      this.#tell("offline");
      return; // the browser says when to go on
    }
    // Full jitter, drawn after the cap, so that many clients do not come back together.
    const delay = this.#after ?? Math.random() * Math.min(CAP, 500 * 2 ** this.#tries++);
    this.#after = null;
    this.#tell("waiting", Math.ceil(delay / 1000));
    this.#timer = setTimeout(() => this.#connect(), delay);
  }

  #now() {
    if (!this.#closed && this.#socket === null) this.#connect();
  }

  #tell(state, seconds = 0) {
    this.dispatchEvent(new CustomEvent("state", { detail: { state, seconds } }));
  }
}
