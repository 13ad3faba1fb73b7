// The list of messages and its scrolling; what is being sent stands last.

import { Problem } from "../problems.js";
import { bubble, elementsOf, fillQuote, line, mark } from "./message.js";

const NEAR_END = 80; // pixels from the end that still count as being there
const NEAR_TOP = 300; // pixels from the top at which older messages are fetched
const MOST_PAGES = 20; // of older messages that are fetched to find one that was quoted
const MOST = 600; // messages on the page; more than that are cut to half while the newest are read

export class TimelineView {
  #box = document.getElementById("timeline");
  #list = document.getElementById("messages");
  #pill = document.getElementById("newest");
  #user;
  #handlers; // {onTop, onBottom, onNewest, onEnd, onMenu, onRetry, onDiscard}
  #look; // how messages are shown, see message.js
  #tabbable = null; // the menu button that Tab reaches
  #stream = null;
  #pending = new Map(); // message id → element of what is being sent
  #following = true; // the newest message is kept in view
  #unread = 0; // messages that were new when the room was opened; they get a line in front of them
  #missed = 0; // messages that came while reading further up
  #warning = null; // the last line that told of a problem
  #settling = false;

  constructor({ user, ...handlers }) {
    this.#user = user;
    this.#handlers = handlers;
    this.#look = { user, firstNew: null, find: (id) => this.#stream.timeline.get(id), onJump: (id) => this.#jump(id), onMenu: handlers.onMenu };
    this.#list.onkeydown = (event) => this.#key(event);
    this.#box.onscroll = () => this.#scrolled();
    this.#pill.onclick = () => (this.#live ? this.#toEnd() : this.#handlers.onNewest());
    // The box shrinks when a phone's keyboard opens or the message box grows.
    new ResizeObserver(() => this.#following && this.#toEnd()).observe(this.#box);
  }

  /** Whether the newest message is in view. */
  get following() {
    return this.#following;
  }

  /** Show a stream from now on; null for none. `entries`: what of its room is still being sent; `unread`: how many of
   *  its messages are new to the person. */
  show(stream, { entries, unread }) {
    this.#stream = stream;
    this.#unread = unread;
    this.#look.firstNew = null;
    this.#list.replaceChildren();
    this.#pending.clear();
    this.#following = true;
    for (const entry of entries) this.pend(entry);
    this.#toEnd();
  }

  get #live() {
    return this.#stream === null || this.#stream.live;
  }

  /** The timeline began anew, around a cursor or (null) with the newest. */
  reset(at) {
    if (this.#unread) this.#look.firstNew = this.#stream.timeline.newest(this.#unread)?.id;
    this.#unread = 0;
    for (const id of [...this.#pending.keys()]) if (this.#stream.timeline.has(id)) this.remove(id);
    this.#render();
    const found = at && this.#stream.timeline.frames.find(({ cursor }) => cursor === at);
    if (found) this.#goTo(this.#elementOf(found.id));
    else this.#toEnd();
    this.#fill();
    this.#settle();
  }

  /** Newer history behind; the place that is being read stays where it is. */
  extend(newer) {
    const { frames } = this.#stream.timeline;
    const first = frames.length - newer.length;
    this.#silently(() =>
      newer.forEach((frame, at) => this.#insert(...elementsOf(frame, frames[first + at - 1], this.#look))),
    );
    this.#settle();
  }

  /** Older history in front; the place that is being read stays where it is. */
  prepend(older) {
    const { frames } = this.#stream.timeline;
    const fromEnd = this.#box.scrollHeight - this.#box.scrollTop;
    this.#silently(() => {
      const next = frames[older.length];
      if (next) {
        // What stood first had nothing in front: it may now belong to the same day or person.
        while (this.#list.firstElementChild?.matches(".day, .new")) this.#list.firstElementChild.remove();
        this.#elementOf(next.id)?.replaceWith(...elementsOf(next, older.at(-1), this.#look));
      }
      this.#list.prepend(...older.flatMap((frame, at) => elementsOf(frame, older[at - 1], this.#look)));
      this.#list.querySelectorAll(".quote").forEach((quote) => fillQuote(quote, this.#look.find(quote.dataset.quote)));
    });
    this.#box.scrollTop = this.#box.scrollHeight - fromEnd;
    this.#fill();
  }

  /** The newest message or notice of the stream. */
  append(frame) {
    this.remove(frame.id);
    const { frames } = this.#stream.timeline;
    this.#insert(...elementsOf(frame, frames.at(-2), this.#look));
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
    if (item) {
      const focused = item.contains(document.activeElement);
      const now = bubble(frame, { first: item.classList.contains("first"), look: this.#look });
      item.replaceWith(now);
      if (focused) focus(now);
    }
    this.#list.querySelectorAll(`[data-quote="${CSS.escape(frame.id)}"]`).forEach((quote) => fillQuote(quote, frame));
    this.#settle();
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
    const item = bubble({ ...entry, sender: this.#user }, { first: this.#pending.size === 0, look: this.#look });
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
    const elements = frames.flatMap((frame, at) => elementsOf(frame, frames[at - 1], this.#look));
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
      this.#keepTabbable();
    });
  }

  // Finding one's way among messages

  /** Tab reaches the menu of the newest message, or of the one that the arrow keys went to. */
  #keepTabbable() {
    if (this.#tabbable?.isConnected && this.#tabbable === document.activeElement) return;
    const buttons = this.#list.querySelectorAll(".more");
    this.#makeTabbable(buttons[buttons.length - 1] ?? null);
  }

  #makeTabbable(button) {
    if (this.#tabbable) this.#tabbable.tabIndex = -1;
    this.#tabbable = button;
    if (button) button.tabIndex = 0;
  }

  #key(event) {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step || !event.target.classList.contains("more")) return;
    event.preventDefault();
    const buttons = [...this.#list.querySelectorAll(".more")];
    const next = buttons[buttons.indexOf(event.target) + step];
    if (!next) return;
    this.#makeTabbable(next);
    next.focus();
  }

  /** Go to a message that was quoted, fetching older ones until it is there. */
  async #jump(id) {
    const stream = this.#stream;
    for (let page = 0; page < MOST_PAGES && !stream.timeline.has(id); page += 1) {
      const { first } = stream.timeline;
      await this.#handlers.onTop();
      if (stream !== this.#stream) return;
      if (stream.timeline.first === first) break;
    }
    const item = this.#elementOf(id);
    if (!item) {
      this.warn("The message that was replied to is not here.");
      return;
    }
    this.#goTo(item);
  }

  #goTo(item) {
    this.#following = false;
    item.scrollIntoView({ block: "center" });
    item.tabIndex = -1;
    item.focus({ preventScroll: true });
  }

  #scrolled() {
    const fromEnd = this.#box.scrollHeight - this.#box.scrollTop - this.#box.clientHeight;
    this.#following = this.#live && fromEnd < NEAR_END;
    if (this.#following) this.#arrive();
    if (!this.#live && fromEnd < NEAR_TOP) this.#handlers.onBottom();
    if (this.#box.scrollTop < NEAR_TOP) this.#handlers.onTop();
  }

  #toEnd() {
    this.#box.scrollTop = this.#box.scrollHeight;
    this.#following = this.#live;
    this.#arrive();
  }

  #arrive() {
    this.#missed = 0;
    this.#showPill();
    this.#handlers.onEnd();
  }

  #showPill() {
    this.#pill.hidden = this.#live && this.#missed === 0;
    if (!this.#live) this.#pill.textContent = "To the newest messages ↓";
    else this.#pill.textContent = `${this.#missed} new ${this.#missed === 1 ? "message" : "messages"} ↓`;
  }

  /** A page that does not fill the box cannot be scrolled. */
  #fill() {
    if (this.#box.scrollHeight > this.#box.clientHeight) return;
    this.#handlers.onTop();
    if (!this.#live) this.#handlers.onBottom();
  }
}

/** The focus is not lost when a message is shown anew. */
function focus(item) {
  const target = item.querySelector(".more") ?? item;
  target.tabIndex = target === item ? -1 : 0;
  target.focus({ preventScroll: true });
}
