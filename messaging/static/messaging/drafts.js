// What was typed and not sent, for each room; it survives a reload in this tab.

export class Drafts {
  #prefix;

  constructor(user) {
    this.#prefix = `chat.draft.${user}.`;
  }

  get(room) {
    return sessionStorage.getItem(this.#prefix + room) ?? "";
  }

  set(room, text) {
    if (text) sessionStorage.setItem(this.#prefix + room, text);
    else sessionStorage.removeItem(this.#prefix + room);
  }

  clear() {
    for (const key of Object.keys(sessionStorage)) if (key.startsWith(this.#prefix)) sessionStorage.removeItem(key);
  }
}
