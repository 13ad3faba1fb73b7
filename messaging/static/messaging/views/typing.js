// Who is typing in the open room, and that I am.

const PAUSE = 3_000; // milliseconds between two frames; the server passes on no more
const SHOWN = 5_000; // milliseconds that somebody counts as typing after the last word of it
const MOST = 3; // names that are shown

export class Typing {
  #line = document.getElementById("typing");
  #people = new Map(); // name → timer
  #sent = { room: null, at: 0 };

  /** I am typing in this room. */
  send(client, room) {
    if (this.#sent.room === room && Date.now() - this.#sent.at < PAUSE) return;
    if (client.tell({ type: "typing", room })) this.#sent = { room, at: Date.now() };
  }

  add(name) {
    clearTimeout(this.#people.get(name));
    this.#people.set(name, setTimeout(() => this.remove(name), SHOWN));
    this.#render();
  }

  remove(name) {
    clearTimeout(this.#people.get(name));
    if (this.#people.delete(name)) this.#render();
  }

  clear() {
    for (const name of [...this.#people.keys()]) this.remove(name);
  }

  #render() {
    const names = [...this.#people.keys()];
    const who = names.length > MOST ? "Several people" : new Intl.ListFormat("en").format(names);
    this.#line.textContent = names.length ? `${who} ${names.length > 1 ? "are" : "is"} typing…` : "";
  }
}
