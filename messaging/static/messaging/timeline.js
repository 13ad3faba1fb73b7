// The messages and notices of one room, oldest first, each once.

export class Timeline {
  #frames = [];
  #known = new Map(); // id → frame; an id is unique in its room

  get frames() {
    return this.#frames;
  }

  get first() {
    return this.#frames[0];
  }

  get last() {
    return this.#frames.at(-1);
  }

  has(id) {
    return this.#known.has(id);
  }

  /** What is newer than this frame; all when there is none. */
  behind(frame) {
    return this.#frames.filter(({ time }) => !frame || time > frame.time);
  }

  reset(frames) {
    this.#frames = [];
    this.#known.clear();
    this.prepend(frames);
  }

  /** Older history; returns what was not known. */
  prepend(frames) {
    const older = frames.filter((frame) => this.#learn(frame));
    this.#frames = [...older, ...this.#frames];
    return older;
  }

  /** Whether the frame was not known. */
  append(frame) {
    if (!this.#learn(frame)) return false;
    this.#frames.push(frame);
    return true;
  }

  /** The message that an `edited` or `deleted` frame is about, as it is now; undefined when it is not here. */
  change({ type, message, text }) {
    const frame = this.#known.get(message);
    if (frame && type === "edited") Object.assign(frame, { text, edited: true });
    if (frame && type === "deleted") delete frame.text;
    return frame;
  }

  /** Forget the oldest ones, except so many. */
  trim(keep) {
    for (const frame of this.#frames.splice(0, this.#frames.length - keep)) this.#known.delete(frame.id);
  }

  #learn(frame) {
    if (this.#known.has(frame.id)) return false;
    this.#known.set(frame.id, frame);
    return true;
  }
}
