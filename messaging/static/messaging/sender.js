// Sends what stands in the outbox, and again what is not acknowledged, until the server has it or refuses it for good.

import { Problem } from "./problems.js";

const TRIES = 5; // of a message that the server refuses for passing reasons
const PAUSE = 2_000; // milliseconds between them, at least

/** Events: `pending`, `sent`, `failed` (detail: the entry). */
export class Sender extends EventTarget {
  #connection;
  #outbox;
  #refused = new Map(); // message id → how often it was refused for a passing reason
  #paused = new Map(); // room → timer; its messages wait in their order

  constructor({ connection, outbox }) {
    super();
    this.#connection = connection;
    this.#outbox = outbox;
  }

  write(room, text, replyTo) {
    const entry = this.#outbox.add(room, text, replyTo);
    this.#send(entry);
    return entry;
  }

  /** On each connection: send what is not acknowledged. */
  resume() {
    for (const timer of this.#paused.values()) clearTimeout(timer);
    this.#paused.clear();
    for (const entry of this.#outbox.unsent()) this.#send(entry);
  }

  retry(id) {
    this.#refused.delete(id);
    const entry = this.#outbox.update(id, { failed: null });
    if (!entry) return;
    this.#tell("pending", entry);
    this.#send(entry);
  }

  discard(id) {
    this.#refused.delete(id);
    this.#outbox.remove(id);
  }

  /** The answers to sends: `ack` and `error`. */
  take(frame) {
    const entry = this.#outbox.get(frame.id);
    if (!entry) return;
    if (frame.type === "ack") {
      this.discard(entry.id);
      this.#tell("sent", entry);
    } else if (frame.type === "error") {
      this.#refuse(entry, new Problem(frame));
    }
  }

  #refuse(entry, problem) {
    const times = (this.#refused.get(entry.id) ?? 0) + 1;
    this.#refused.set(entry.id, times);
    if (problem.passing && times < TRIES) {
      this.#pause(entry.room, Math.max(PAUSE, problem.retryAfter));
      return;
    }
    this.#outbox.update(entry.id, { failed: problem.message });
    this.#tell("failed", entry);
  }

  #pause(room, duration) {
    if (this.#paused.has(room)) return;
    const go = () => {
      this.#paused.delete(room);
      for (const entry of this.#outbox.unsent()) if (entry.room === room) this.#send(entry);
    };
    this.#paused.set(room, setTimeout(go, duration));
  }

  #send(entry) {
    if (this.#paused.has(entry.room)) return;
    const frame = { type: "send", id: entry.id, room: entry.room, text: entry.text };
    if (entry.reply_to) frame.reply_to = entry.reply_to;
    if (entry.sent) frame.retry = true;
    if (this.#connection.send(frame)) this.#outbox.update(entry.id, { sent: true });
  }

  #tell(state, entry) {
    this.dispatchEvent(new CustomEvent(state, { detail: entry }));
  }
}
