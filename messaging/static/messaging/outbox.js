// What was written and is not acknowledged yet; it survives a reload in this tab.

/** Entries: {id, room, text, reply_to: message id or null, sent: whether it went out before, failed: null or the sentence that says why it cannot}. */
export class Outbox {
  #key;
  #entries;

  constructor(user) {
    this.#key = `chat.outbox.${user}`;
    this.#entries = new Map(this.#load().map((entry) => [entry.id, entry]));
  }

  add(room, text, replyTo = null) {
    const entry = { id: uuid(), room, text, reply_to: replyTo, sent: false, failed: null };
    this.#entries.set(entry.id, entry);
    this.#save();
    return entry;
  }

  get(id) {
    return this.#entries.get(id);
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

  /** In the order in which they were written. */
  inRoom(room) {
    return [...this.#entries.values()].filter((entry) => entry.room === room);
  }

  /** What is still to be sent, in the order in which it was written. */
  unsent() {
    return [...this.#entries.values()].filter((entry) => entry.failed === null);
  }

  #load() {
    try {
      return JSON.parse(sessionStorage.getItem(this.#key)) ?? [];
    } catch {
      return [];
    }
  }

  #save() {
    if (this.#entries.size) sessionStorage.setItem(this.#key, JSON.stringify([...this.#entries.values()]));
    else sessionStorage.removeItem(this.#key);
  }
}

/** A random UUID in lower case; crypto.randomUUID is there on secure origins only. */
export function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
