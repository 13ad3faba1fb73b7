// The list of messages and its scrolling; what is being sent stands last.

import { Problem } from "../problems.js";
import { bubble, elementsOf, line, mark } from "./message.js";

const NEAR_END = 80; // pixels from the end that still count as being there
const NEAR_TOP = 300; // pixels from the top at which older messages are fetched
const MOST = 600; // messages on the page; more than that are cut to half while the newest are read

export class TimelineView {
  #box = document.getElementById("timeline");
  #list = document.getElementById("messages");
  #pill = document.getElementById("newest");
  #user;
  #handlers; // {onTop, onEnd, onRetry, onDiscard}
  #stream = null;
  #pending = new Map(); // message id → element of what is being sent
  #following = true; // the newest message is kept in view
  #missed = 0; // messages that came while reading further up
  #warning = null; // the last line that told of a problem
  #settling = false;

  constructor({ user, ...handlers }) {
    this.#user = user;
    this.#handlers = handlers;
    this.#box.onscroll = () => this.#scrolled();
    this.#pill.onclick = () => this.#toEnd();
    // The box shrinks when a phone's keyboard opens or the message box grows.
    new ResizeObserver(() => this.#following && this.#toEnd()).observe(this.#box);
  }

  /** Whether the newest message is in view. */
  get following() {
    return this.#following;
  }

  /** Show a stream from now on; null for none. `entries`: what of its room is still being sent. */
  show(stream, entries = []) {
    this.#stream = stream;
    this.#list.replaceChildren();
    this.#pending.clear();
    this.#following = true;
    for (const entry of entries) this.pend(entry);
    this.#toEnd();
  }

  /** The timeline began anew. */
  reset() {
    for (const id of [...this.#pending.keys()]) if (this.#stream.timeline.has(id)) this.remove(id);
    this.#render();
    this.#toEnd();
    this.#fill();
  }

  /** Older history in front; the place that is being read stays where it is. */
  prepend(older) {
    const { frames } = this.#stream.timeline;
    const fromEnd = this.#box.scrollHeight - this.#box.scrollTop;
    this.#silently(() => {
      const next = frames[older.length];
      if (next) {
        // What stood first had nothing in front: it may now belong to the same day or person.
        if (this.#list.firstElementChild?.classList.contains("day")) this.#list.firstElementChild.remove();
        this.#elementOf(next.id)?.replaceWith(...elementsOf(next, older.at(-1), this.#user));
      }
      this.#list.prepend(...older.flatMap((frame, at) => elementsOf(frame, older[at - 1], this.#user)));
    });
    this.#box.scrollTop = this.#box.scrollHeight - fromEnd;
    this.#fill();
  }

  /** The newest message or notice of the stream. */
  append(frame) {
    this.remove(frame.id);
    const { frames } = this.#stream.timeline;
    this.#insert(...elementsOf(frame, frames.at(-2), this.#user));
    if (frame.sender === this.#user) this.#following = true;
    else if (!this.#following) this.#missed += 1;
    if (this.#following && frames.length > MOST) {
      this.#stream.trim(MOST / 2);
      this.#render();
    }
    this.#settle();
  }

  /** A message was edited or deleted. */
  change(frame) {
    const item = this.#elementOf(frame.id);
    item?.replaceWith(bubble(frame, { own: frame.sender === this.#user, first: item.classList.contains("first") }));
  }

  /** A line that is not stored: somebody entered. */
  say(text) {
    this.#insert(line(text));
    this.#settle();
  }

  /** A line that tells of a problem; one at a time. */
  warn(text) {
    this.#warning?.remove();
    this.#warning = line(text, "warning");
    this.#insert(this.#warning);
    this.#settle();
  }

  /** A message on its way. */
  pend(entry) {
    if (this.#stream.timeline.has(entry.id)) return;
    const item = bubble({ ...entry, sender: this.#user }, { own: true, first: this.#pending.size === 0 });
    this.#pending.set(entry.id, item);
    this.#list.append(item);
    this.mark(entry, entry.failed === null ? "pending" : "failed");
    this.#toEnd();
  }

  /** `state`: pending, sent or failed. */
  mark(entry, state) {
    const item = this.#pending.get(entry.id);
    if (!item) return;
    mark(item, state, entry.failed && new Problem(entry.failed).message, {
      onRetry: () => this.#handlers.onRetry(entry.id),
      onDiscard: () => this.#handlers.onDiscard(entry.id),
    });
    this.#settle();
  }

  /** Take away what was being sent. */
  remove(id) {
    this.#pending.get(id)?.remove();
    this.#pending.delete(id);
  }

  #elementOf(id) {
    return this.#list.querySelector(`[data-id="${CSS.escape(id)}"]`);
  }

  #render() {
    const { frames } = this.#stream.timeline;
    const elements = frames.flatMap((frame, at) => elementsOf(frame, frames[at - 1], this.#user));
    this.#silently(() => this.#list.replaceChildren(...elements, ...this.#pending.values()));
  }

  /** A screen reader is not to read the history aloud. */
  #silently(change) {
    this.#box.setAttribute("aria-live", "off");
    change();
    setTimeout(() => this.#box.setAttribute("aria-live", "polite"), 100);
  }

  /** Insert before what is being sent. */
  #insert(...elements) {
    const [firstPending] = this.#pending.values();
    for (const item of elements) this.#list.insertBefore(item, firstPending ?? null);
  }

  // Scrolling

  /** Once for all messages that came together, since it makes the browser lay out the page. */
  #settle() {
    if (this.#settling) return;
    this.#settling = true;
    requestAnimationFrame(() => {
      this.#settling = false;
      if (this.#following) this.#toEnd();
      this.#showPill();
    });
  }

  #scrolled() {
    const fromEnd = this.#box.scrollHeight - this.#box.scrollTop - this.#box.clientHeight;
    this.#following = fromEnd < NEAR_END;
    if (this.#following) this.#arrive();
    if (this.#box.scrollTop < NEAR_TOP) this.#handlers.onTop();
  }

  #toEnd() {
    this.#box.scrollTop = this.#box.scrollHeight;
    this.#following = true;
    this.#arrive();
  }

  #arrive() {
    this.#missed = 0;
    this.#showPill();
    this.#handlers.onEnd();
  }

  #showPill() {
    this.#pill.hidden = this.#missed === 0;
    this.#pill.textContent = `${this.#missed} new ${this.#missed === 1 ? "message" : "messages"} ↓`;
  }

  /** A page that does not fill the box cannot be scrolled. */
  #fill() {
    if (this.#box.scrollHeight <= this.#box.clientHeight) this.#handlers.onTop();
  }
}
