// What was written and is not acknowledged yet; it survives a reload in this tab.

const KEY = "chat.outbox";

/** Entries: {id, room, text, failed: code or null, sent: whether it went out before}. */
export class Outbox {
  #user;
  #entries = new Map();

  constructor(user) {
    this.#user = user;
    for (const entry of this.#load()) this.#entries.set(entry.id, entry);
  }

  add(room, text) {
    const entry = { id: uuid(), room, text, failed: null, sent: false };
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
    const removed = this.#entries.delete(id);
    this.#save();
    return removed;
  }

  inRoom(room) {
    return [...this.#entries.values()].filter((entry) => entry.room === room);
  }

  /** In the order in which they were written. */
  unsent() {
    return [...this.#entries.values()].filter((entry) => entry.failed === null);
  }

  #load() {
    try {
      return JSON.parse(sessionStorage.getItem(`${KEY}.${this.#user}`)) ?? [];
    } catch {
      return [];
    }
  }

  #save() {
    sessionStorage.setItem(`${KEY}.${this.#user}`, JSON.stringify([...this.#entries.values()]));
  }
}

/** A random UUID in lower case; crypto.randomUUID is there on secure origins only. */
function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
