// The messages and notices of one room, oldest first, each once.

const MOST_EARLY = 500; // changes that are kept for messages that are not here

export class Timeline {
  #frames = [];
  #early = new Map(); // message id → the last change of one that is not here: a page on its way may show it as it was
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

  get(id) {
    return this.#known.get(id);
  }

  /** What is newer than this frame; all when there is none. */
  behind(frame) {
    return this.#frames.filter(({ time }) => !frame || time > frame.time);
  }

  /** The last message but so many, counting people's only; the oldest one where there are fewer. */
  newest(count) {
    const messages = this.#frames.filter(({ type }) => type === "message");
    return messages.at(-count) ?? messages[0];
  }

  reset(frames) {
    this.#frames = [];
    this.#known.clear();
    this.#early.clear(); // a page that begins it anew has them
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
  change(change) {
    const frame = this.#known.get(change.message);
    if (frame) return changed(frame, change);
    this.#early.delete(change.message);
    this.#early.set(change.message, change);
    if (this.#early.size > MOST_EARLY) this.#early.delete(this.#early.keys().next().value);
    return undefined;
  }

  /** Forget the oldest ones, except so many. */
  trim(keep) {
    for (const frame of this.#frames.splice(0, this.#frames.length - keep)) this.#known.delete(frame.id);
  }

  #learn(frame) {
    if (this.#known.has(frame.id)) return false;
    this.#known.set(frame.id, frame);
    const change = this.#early.get(frame.id);
    if (change) changed(frame, change);
    this.#early.delete(frame.id);
    return true;
  }
}

/** A message as it is after an `edited` or `deleted` frame; what is deleted stays so. */
export function changed(frame, { type, text, by, time }) {
  if (frame.deleted) return frame;
  if (type === "edited") return Object.assign(frame, { text, edited: true, edited_by: by, edited_at: time });
  delete frame.text;
  return Object.assign(frame, { deleted: true, deleted_by: by, deleted_at: time });
}
