// Edits and deletions on their way: sent, and sent again under the same id, until the server answers for good.

import { uuid } from "./chat-client.js";
import { Problem } from "./problems.js";

const TRIES = 5; // of a change that the server refuses for passing reasons
const PAUSE = 2_000; // milliseconds between them, at least

export class Changes {
  #client;
  #waiting = new Map(); // frame id → {frame, refused: how often for a passing reason, resolve, reject}

  constructor({ client }) {
    this.#client = client;
    client.addEventListener("open", () => this.#resume());
    client.addEventListener("frame", ({ detail: frame }) => this.#take(frame));
  }

  /** Resolves when it is durable; rejects with a Problem. What is seen of it comes with the room's stream. */
  edit(room, message, text) {
    return this.#change({ type: "edit", id: uuid(), room, message, text });
  }

  /** As `edit`. */
  delete(room, message) {
    return this.#change({ type: "delete", id: uuid(), room, message });
  }

  /** On each connection: send what was not answered. */
  #resume() {
    for (const { frame } of this.#waiting.values()) this.#client.tell(frame);
  }

  /** The answers: `ack` and `error`. */
  #take(frame) {
    const change = this.#waiting.get(frame.id);
    if (!change || (frame.type !== "ack" && frame.type !== "error")) return;
    const problem = frame.type === "error" ? new Problem(frame) : null;
    if (problem?.passing && (change.refused += 1) < TRIES) {
      setTimeout(() => this.#waiting.has(frame.id) && this.#client.tell(change.frame), Math.max(PAUSE, problem.retryAfter));
      return;
    }
    this.#waiting.delete(frame.id);
    if (problem) change.reject(problem);
    else change.resolve();
  }

  #change(frame) {
    return new Promise((resolve, reject) => {
      this.#waiting.set(frame.id, { frame, refused: 0, resolve, reject });
      this.#client.tell(frame);
    });
  }
}
