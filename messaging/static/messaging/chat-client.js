/**
 * A client of the chat's WebSocket, protocol `chat.v1`, for browsers. It needs no other module.
 *
 *     import { ChatClient } from "/static/messaging/chat-client.js";
 *
 *     const client = new ChatClient();
 *     client.addEventListener("frame", ({ detail: frame }) => show(frame));
 *     client.addEventListener("gap", ({ detail: { room } }) => readHistory(room));
 *     client.open();
 *     client.subscribe(12, cursorOfTheHistory);
 *     client.write(12, "Hello");
 *
 * The person is the one of the session cookie; a page of another origin must be among the server's `ALLOWED_ORIGINS`.
 *
 * What it keeps, so that nothing is missed, said twice or shown twice:
 * - A connection that is lost, or silent for two ping intervals, is made anew with exponential backoff and full jitter,
 *   not before the time that a stopping server asked for, and at once when the network or the person is back. Pings are
 *   answered. The close codes 1000, 4001 and 4003 end it until `open()`.
 * - Each room is resumed behind the last frame of its log that came. A message or notice comes once.
 * - What is written goes out in its order, a bounded number at a time, and again (same id, `retry`) on the next
 *   connection or after a refusal that may pass, until it is acknowledged or refused for good.
 *
 * Events, each with a `detail`:
 * - `state` {state, until}: connecting, connected, waiting (for the next try, at the time `until`), offline, closed (1000),
 *   signed-out (4001: sign in, then `open()` or `openLater()`), deactivated (4003).
 * - `open` (the `welcome` frame): on each connection, after the rooms were resumed.
 * - `frame`: a server frame, but for answers and what concerns the connection. Of a room's own only while it is subscribed.
 *   A `removed` is word of an earlier stay where the room `resumes` all the same.
 * - `subscribed` (the frame): the room is live; what follows in `frame` has no gap, if `recovered`.
 * - `gap` {room}: something behind the last cursor cannot be had any more. What is new comes on, but is not resumed: read
 *   the history, and `subscribe` behind it.
 * - `refused` (the `error` frame, with `room`): a subscription; when the reason may pass it is tried again by itself.
 * - `sent`, `failed`, `pending` (an entry): what became of something written; `pending` after `retry`.
 *
 * An entry: {id, room, text, reply_to, sent: whether it went out before, failed: null or the `error` frame that refused it}.
 */

const FIRST = 1_000; // milliseconds within which the first try to come back falls
const CAP = 30_000; // milliseconds between two tries, at most
const STABLE = 60_000; // after so long a connection the backoff starts anew
const PATIENCE = 10_000; // milliseconds until a welcome
// Close codes after which coming back makes no sense without the person.
const FINAL = new Map([[1000, "closed"], [4001, "signed-out"], [4003, "deactivated"]]);

// Refusals that may pass.
const PASSING = new Set(["rate_limited", "unavailable", "unknown"]);
const TRIES = 5; // of a message that is refused for such a reason
const EARLY_TRIES = 15; // half a minute for a room to be entered, whose history may be slow to come
const PAUSE = 2_000; // milliseconds between them, at least
const WINDOW = 64; // messages under way; the server closes a socket that sends more frames than it can hold

const ANSWERS = new Set(["subscribed", "ack", "error"]);
const LOGGED = new Set(["message", "notice", "edited", "deleted"]);
const ROOM_OWN = new Set([...LOGGED, "joined", "left", "presence", "typing"]);
const MAX_SEEN = 4_096; // ids of a room that are remembered: a resume can repeat only what is recent

export class ChatClient extends EventTarget {
  #url;
  #socket = null;
  #welcomed = 0; // when the welcome came, milliseconds; 0: not connected
  #stopped = true; // nobody wants a connection, or the server has ended it for good
  #tries = 0; // since the last stable connection
  #triedAt = 0;
  #notBefore = 0; // the server asked not to come back earlier
  #silence = PATIENCE; // milliseconds without a frame after which the connection counts as lost
  #watchdog = null;
  #timer = null;

  #requests = 0; // each subscribe has an id of its own, so that late answers to earlier ones are told apart
  // Room → {room, cursor: a resume starts behind it, gap: it cannot be resumed, request: id of the newest subscribe on
  // this connection or null, live: that was answered, seen: ids of what came, timer: of the next try}.
  #rooms = new Map();

  #outbox;
  #underWay = new Set(); // ids of the entries that went out on this connection and have no answer
  #refusals = new Map(); // id of an entry → how often it was refused for a passing reason
  #paused = new Map(); // room → timer; its messages wait in their order

  /** `url` of the WebSocket; `storageKey`: keep what is unsent in sessionStorage under this key, so that it survives a
   *  reload. */
  constructor({ url = `${location.origin.replace("http", "ws")}/ws`, storageKey = null } = {}) {
    super();
    this.#url = url;
    this.#outbox = new Outbox(storageKey);
    addEventListener("online", () => (this.connected ? this.#tellState("connected") : this.#hurry()));
    addEventListener("offline", () => this.#stopped || this.#tellState("offline"));
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.#hurry());
  }

  // The connection

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

  /** Send any frame once; false without a connection. What is answered to it is an event `frame`. */
  tell(frame) {
    if (!this.connected) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  #connect() {
    clearTimeout(this.#timer);
    this.#triedAt = Date.now();
    this.#silence = PATIENCE;
    this.#tellState("connecting");
    const socket = new WebSocket(this.#url, ["chat.v1"]);
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
      else this.#take(frame);
    }
  }

  #welcome(frame) {
    this.#silence = frame.ping_interval * 2000;
    this.#watch();
    this.#welcomed = Date.now();
    this.#tellState("connected");
    // Whoever listens may find that this is another person's session, and close: then nothing is said as that person.
    this.#dispatch("open", frame);
    for (const subscription of this.#rooms.values()) if (subscription.request === null) this.#ask(subscription);
    this.#sendAll();
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
      this.#tellState(FINAL.get(code));
    } else {
      this.#wait();
    }
  }

  #drop(code) {
    const socket = this.#socket;
    this.#socket = null;
    this.#welcomed = 0;
    clearTimeout(this.#watchdog);
    this.#underWay.clear();
    for (const timer of this.#paused.values()) clearTimeout(timer);
    this.#paused.clear();
    for (const subscription of [...this.#rooms.values()]) {
      clearTimeout(subscription.timer);
      Object.assign(subscription, { request: null, live: false });
      // A resume would hide the gap.
      if (subscription.gap) this.#rooms.delete(subscription.room);
    }
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
    this.#tellState(navigator.onLine ? "waiting" : "offline", Date.now() + delay);
  }

  /** The network or the person is back: do not wait for the next try, but do not try more than once a second either. */
  #hurry() {
    if (this.#stopped || this.#socket !== null || !navigator.onLine) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connect(), Math.max(0, this.#triedAt + FIRST - Date.now()));
  }

  // Rooms

  /** See a room from behind a cursor (of the history, or of a frame) on, or from now on, and resume it on each
   *  connection. Again: anew. */
  subscribe(room, cursor = null) {
    this.#forget(room);
    const subscription = { room, cursor, gap: false, request: null, live: false, seen: new Set(), timer: null };
    this.#rooms.set(room, subscription);
    if (this.connected) this.#ask(subscription);
  }

  unsubscribe(room) {
    this.#forget(room);
    this.tell({ type: "unsubscribe", id: this.#nextId(), room });
  }

  /** Whether a room is subscribed, or is being so, and nothing of it is known to be missing. */
  resumes(room) {
    return this.#rooms.get(room)?.gap === false;
  }

  #forget(room) {
    clearTimeout(this.#rooms.get(room)?.timer);
    this.#rooms.delete(room);
  }

  #nextId() {
    return `chat-client-${(this.#requests += 1)}`;
  }

  #ask(subscription) {
    subscription.live = false;
    subscription.request = this.#nextId();
    const frame = { type: "subscribe", id: subscription.request, room: subscription.room };
    this.tell(subscription.cursor === null ? frame : { ...frame, after: subscription.cursor });
  }

  #take(frame) {
    if (ANSWERS.has(frame.type) && frame.id) {
      const subscription = [...this.#rooms.values()].find(({ request }) => request === frame.id);
      if (subscription && frame.type === "subscribed") return this.#start(subscription, frame);
      if (subscription && frame.type === "error") return this.#refuse(subscription, frame);
      if (this.#outbox.get(frame.id)) return this.#answer(frame);
    }
    if (ROOM_OWN.has(frame.type) && !this.#follow(frame)) return;
    // Before the answer to a subscription it is word of an earlier stay, and that answer tells more.
    const ends = frame.type === "removed" && this.#rooms.get(frame.room)?.live !== false;
    if (ends || frame.type === "room_deleted") this.#forget(frame.room);
    this.#dispatch("frame", frame);
  }

  #start(subscription, frame) {
    subscription.live = true;
    subscription.gap = !frame.recovered;
    // What was said too early begins to count now.
    for (const { id } of this.unsent(subscription.room)) this.#refusals.delete(id);
    subscription.cursor ??= frame.cursor;
    this.#dispatch("subscribed", frame);
    if (!frame.recovered) this.#dispatch("gap", { room: subscription.room });
    this.#goOn(subscription.room);
  }

  #refuse(subscription, error) {
    const { room } = subscription;
    if (error.code === "invalid" && subscription.cursor !== null) {
      // The cursor is of no use here (any more).
      this.#forget(room);
      this.#dispatch("gap", { room });
      return;
    }
    if (PASSING.has(error.code) || error.code === "internal") {
      subscription.timer = setTimeout(() => this.#ask(subscription), pauseOf(error));
    } else {
      this.#forget(room);
    }
    this.#dispatch("refused", { ...error, room });
  }

  /** Whether a frame of a room is to be shown. */
  #follow(frame) {
    const subscription = this.#rooms.get(frame.room);
    if (!subscription?.live) return false;
    if (!LOGGED.has(frame.type)) return true;
    // Not an acknowledgement's cursor: what others sent before it may still be on its way.
    subscription.cursor = frame.cursor;
    if (frame.id === undefined) return true;
    const { seen } = subscription;
    if (seen.has(frame.id)) return false;
    seen.add(frame.id);
    if (seen.size > MAX_SEEN) seen.delete(seen.values().next().value);
    return true;
  }

  // Sending

  /** Say something, now or as soon as there is a connection; `replyTo` is a message's id. Returns its entry. */
  write(room, text, replyTo = null) {
    const entry = this.#outbox.add(room, text, replyTo);
    this.#sendAll();
    return entry;
  }

  /** Entries of a room that are not acknowledged, in the order in which they were written. */
  unsent(room) {
    return this.#outbox.entries().filter((entry) => entry.room === room);
  }

  /** Send an entry again that has failed. */
  retry(id) {
    this.#refusals.delete(id);
    const entry = this.#outbox.update(id, { failed: null });
    if (!entry) return;
    this.#dispatch("pending", entry);
    this.#sendAll();
  }

  /** Forget an entry; it may have been sent. */
  discard(id) {
    this.#refusals.delete(id);
    this.#outbox.remove(id);
  }

  discardAll() {
    this.#outbox.clear();
  }

  #sendAll() {
    for (const entry of this.#outbox.entries()) {
      if (!this.connected || this.#underWay.size >= WINDOW) return;
      if (entry.failed !== null || this.#underWay.has(entry.id) || this.#paused.has(entry.room)) continue;
      const frame = { type: "send", id: entry.id, room: entry.room, text: entry.text };
      if (entry.reply_to) frame.reply_to = entry.reply_to;
      this.tell(entry.sent ? { ...frame, retry: true } : frame);
      this.#underWay.add(entry.id);
      this.#outbox.update(entry.id, { sent: true });
    }
  }

  #answer(frame) {
    const entry = this.#outbox.get(frame.id);
    this.#underWay.delete(entry.id);
    if (frame.type === "ack") {
      this.discard(entry.id);
      this.#dispatch("sent", entry);
    } else {
      this.#refuseEntry(entry, frame);
    }
    this.#sendAll();
  }

  #refuseEntry(entry, error) {
    const times = (this.#refusals.get(entry.id) ?? 0) + 1;
    this.#refusals.set(entry.id, times);
    // A room is joined by subscribing to it, and people write before that is done.
    const isEarly = error.code === "not_member" && !this.#rooms.get(entry.room)?.live;
    if ((PASSING.has(error.code) && times < TRIES) || (isEarly && times < EARLY_TRIES)) {
      this.#pause(entry.room, pauseOf(error));
      return;
    }
    this.#outbox.update(entry.id, { failed: error });
    this.#dispatch("failed", entry);
  }

  #pause(room, duration) {
    if (this.#paused.has(room)) return;
    this.#paused.set(room, setTimeout(() => this.#goOn(room), duration));
  }

  #goOn(room) {
    clearTimeout(this.#paused.get(room));
    this.#paused.delete(room);
    this.#sendAll();
  }

  #tellState(state, until = null) {
    this.#dispatch("state", { state, until });
  }

  #dispatch(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** What was written and is not acknowledged yet, oldest first. */
class Outbox {
  #key;
  #entries;

  constructor(key) {
    this.#key = key;
    this.#entries = new Map(this.#load().map((entry) => [entry.id, entry]));
  }

  add(room, text, replyTo) {
    const entry = { id: uuid(), room, text, reply_to: replyTo, sent: false, failed: null };
    this.#entries.set(entry.id, entry);
    this.#save();
    return entry;
  }

  get(id) {
    return this.#entries.get(id);
  }

  entries() {
    return [...this.#entries.values()];
  }

  /** Change an entry; one that is gone stays gone. */
  update(id, change) {
    const entry = this.#entries.get(id);
    if (entry) Object.assign(entry, change);
    this.#save();
    return entry;
  }

  remove(id) {
    if (this.#entries.delete(id)) this.#save();
  }

  clear() {
    this.#entries.clear();
    this.#save();
  }

  #load() {
    try {
      return JSON.parse(this.#key && sessionStorage.getItem(this.#key)) ?? [];
    } catch {
      return [];
    }
  }

  #save() {
    if (this.#key === null) return;
    if (this.#entries.size) sessionStorage.setItem(this.#key, JSON.stringify(this.entries()));
    else sessionStorage.removeItem(this.#key);
  }
}

/** Milliseconds until something is tried again that was refused for a reason that may pass. */
function pauseOf(error) {
  return Math.max(PAUSE, (error.retry_after ?? 0) * 1000);
}

/** A random UUID in lower case; crypto.randomUUID is there on secure origins only. */
export function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
