// Up to where the person has read, told to the server now and then; it tells the person's other devices.

const PAUSE = 1_000; // milliseconds between two marks of a room

export class ReadMarks {
  #client;
  #rooms = new Map(); // room → {cursor: the newest that was seen, told: whether the server knows, timer}

  constructor({ client }) {
    this.#client = client;
    // What was told to a server that died may be lost.
    client.addEventListener("open", () => this.#rooms.forEach((mark, room) => this.#tell(room, mark)));
  }

  /** The message or notice with this cursor, the newest one, is in view. */
  note(room, cursor) {
    const mark = this.#rooms.get(room) ?? { cursor: null, told: true, timer: null };
    if (mark.cursor === cursor) return;
    this.#rooms.set(room, Object.assign(mark, { cursor, told: false }));
    if (mark.timer === null) this.#tell(room, mark);
  }

  #tell(room, mark) {
    clearTimeout(mark.timer);
    mark.told = this.#client.tell({ type: "read", room, cursor: mark.cursor });
    mark.timer = setTimeout(() => {
      mark.timer = null;
      if (!mark.told && this.#client.connected) this.#tell(room, mark);
    }, PAUSE);
  }
}
