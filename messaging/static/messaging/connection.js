// The life of the WebSocket: connect, answer pings, notice silence, come back with backoff.

const FIRST = 1_000; // milliseconds within which the first try to come back falls
const CAP = 30_000; // milliseconds between two tries, at most
const STABLE = 60_000; // after so long a connection the backoff starts anew
const PATIENCE = 10_000; // milliseconds until a welcome
// Close codes after which coming back makes no sense without the person.
const FINAL = new Map([[1000, "closed"], [4001, "signed-out"], [4003, "deactivated"]]);

/**
 * Events: `open` (detail: the welcome), `frame` (detail: one server frame), `state` (detail: {state, until}) with the states
 * connecting, connected, waiting (for the next try, at the time `until`), offline, closed, signed-out, deactivated.
 */
export class Connection extends EventTarget {
  #socket = null;
  #welcomed = 0; // when the welcome came, milliseconds; 0: not connected
  #stopped = true; // nobody wants a connection, or the server has ended it for good
  #tries = 0; // since the last stable connection
  #triedAt = 0;
  #notBefore = 0; // the server asked not to come back earlier
  #silence = PATIENCE; // milliseconds without a frame after which the connection counts as lost
  #watchdog = null;
  #timer = null;

  constructor() {
    super();
    addEventListener("online", () => (this.connected ? this.#tell("connected") : this.#hurry()));
    addEventListener("offline", () => this.#stopped || this.#tell("offline"));
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.#hurry());
  }

  get connected() {
    return this.#welcomed > 0;
  }

  /** Connect now; a connection that is there stays. */
  open() {
    this.#stopped = false;
    if (this.#socket === null) this.#connect();
  }

  /** Come back as after a lost connection. */
  openLater() {
    this.#stopped = false;
    this.#wait();
  }

  close() {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#drop(1000);
  }

  /** Whether the frame was handed to an open socket. */
  send(frame) {
    if (!this.connected) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  #connect() {
    clearTimeout(this.#timer);
    this.#triedAt = Date.now();
    this.#silence = PATIENCE;
    this.#tell("connecting");
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/ws`, ["chat.v1"]);
    this.#socket = socket;
    this.#watch();
    // A socket that was given up may still speak.
    socket.onmessage = (event) => socket === this.#socket && this.#receive(JSON.parse(event.data));
    socket.onclose = (event) => socket === this.#socket && this.#lose(event.code);
  }

  #receive(received) {
    this.#watch();
    for (const frame of Array.isArray(received) ? received : [received]) {
      if (frame.type === "ping") this.#socket?.send(JSON.stringify({ type: "pong", id: frame.id }));
      else if (frame.type === "reconnect") this.#notBefore = Date.now() + frame.after * 1000;
      else if (frame.type === "welcome") this.#welcome(frame);
      else this.dispatchEvent(new CustomEvent("frame", { detail: frame }));
    }
  }

  #welcome(frame) {
    this.#silence = frame.ping_interval * 2000;
    this.#watch();
    this.#welcomed = Date.now();
    this.#tell("connected");
    this.dispatchEvent(new CustomEvent("open", { detail: frame }));
  }

  #watch() {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#lose(), this.#silence);
  }

  #lose(code) {
    if (this.connected && Date.now() - this.#welcomed > STABLE) this.#tries = 0;
    this.#drop();
    if (FINAL.has(code)) {
      this.#stopped = true;
      this.#tell(FINAL.get(code));
    } else {
      this.#wait();
    }
  }

  #drop(code) {
    const socket = this.#socket;
    this.#socket = null;
    this.#welcomed = 0;
    clearTimeout(this.#watchdog);
    socket?.close(code);
  }

  #wait() {
    clearTimeout(this.#timer);
    // Full jitter, drawn after the cap, so that many clients do not come back together.
    const jittered = Math.random() * Math.min(CAP, FIRST * 2 ** this.#tries);
    this.#tries += 1;
    const asked = this.#notBefore - Date.now();
    this.#notBefore = 0;
    // While the browser says that there is no network, a rare try is enough: it may be wrong about this machine's own.
    const delay = navigator.onLine ? (asked > 0 ? asked : jittered) : CAP;
    this.#timer = setTimeout(() => this.#connect(), delay);
    this.#tell(navigator.onLine ? "waiting" : "offline", Date.now() + delay);
  }

  /** The network or the person is back: do not wait for the next try, but do not try more than once a second either. */
  #hurry() {
    if (this.#stopped || this.#socket !== null || !navigator.onLine) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connect(), Math.max(0, this.#triedAt + FIRST - Date.now()));
  }

  #tell(state, until = null) {
    this.dispatchEvent(new CustomEvent("state", { detail: { state, until } }));
  }
}
