// The list of messages: bubbles, system lines and day separators, in the room's order; what is being sent stands last.

const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
const NOTICES = {
  member_joined: ({ user }) => `${user} joined the room`,
  member_left: ({ user }) => `${user} left the room`,
  member_removed: ({ user }) => `${user} was removed from the room`,
  renamed: ({ by, name }) => `${by ?? "Somebody"} renamed the room to “${name}”`,
};
const NEAR = 80; // pixels from the end that still count as being there

export class Timeline {
  #user;
  #onRetry;
  #onDiscard;
  #box = document.getElementById("timeline");
  #list = document.getElementById("messages");
  #pill = document.getElementById("newest");
  #frames = []; // messages and notices, oldest first
  #seen = new Set(); // their ids
  #pending = new Map(); // id → element of what is being sent

  constructor({ user, onTop, onRetry, onDiscard }) {
    this.#user = user;
    this.#onRetry = onRetry;
    this.#onDiscard = onDiscard;
    this.#box.onscroll = () => {
      if (this.#box.scrollTop < NEAR) onTop();
      if (this.#atEnd) this.#pill.hidden = true;
    };
    this.#pill.onclick = () => this.#toEnd();
  }

  clear() {
    this.#frames = [];
    this.#seen.clear();
    this.#pending.clear();
    this.#list.replaceChildren();
    this.#pill.hidden = true;
  }

  /** Start with a page of history and what is still being sent. */
  reset(frames, entries) {
    this.clear();
    this.#frames = frames.filter((frame) => !this.#seen.has(frame.id) && this.#seen.add(frame.id));
    // A screen reader is not to read the whole history aloud.
    this.#box.setAttribute("aria-live", "off");
    this.#render();
    for (const entry of entries) this.pend(entry);
    this.#toEnd();
    requestAnimationFrame(() => this.#box.setAttribute("aria-live", "polite"));
  }

  /** Older history; the place that is being read stays where it is. */
  prepend(frames) {
    const older = frames.filter((frame) => !this.#seen.has(frame.id) && this.#seen.add(frame.id));
    this.#frames = [...older, ...this.#frames];
    const fromEnd = this.#box.scrollHeight - this.#box.scrollTop;
    const pending = [...this.#pending.values()];
    this.#render();
    this.#list.append(...pending);
    this.#box.scrollTop = this.#box.scrollHeight - fromEnd;
  }

  /** A live message or notice; one that is known already changes nothing. */
  append(frame) {
    if (this.#seen.has(frame.id)) return;
    this.#seen.add(frame.id);
    const follow = this.#atEnd || frame.sender === this.#user;
    const elements = this.#elements(frame, this.#frames.at(-1));
    this.#frames.push(frame);
    this.#pending.get(frame.id)?.remove();
    this.#pending.delete(frame.id);
    this.#insert(...elements);
    this.#settle(follow);
  }

  /** A line that is not stored: somebody entered, a warning. */
  say(text, kind = "") {
    const follow = this.#atEnd;
    this.#insert(line(text, kind));
    this.#settle(follow);
  }

  /** A message on its way. */
  pend(entry) {
    if (this.#seen.has(entry.id)) return;
    const element = this.#bubble({ ...entry, sender: this.#user }, false);
    this.#pending.set(entry.id, element);
    this.#list.append(element);
    this.mark(entry.id, entry.failed ? "failed" : "pending", entry.failed ? "Not sent." : "");
    this.#toEnd();
  }

  /** The state of a message on its way: pending, sent or failed. */
  mark(id, state, words = "") {
    const element = this.#pending.get(id);
    if (!element) return;
    element.classList.toggle("pending", state === "pending");
    element.classList.toggle("failed", state === "failed");
    const status = element.querySelector(".state");
    status.textContent = { pending: "Sending …", sent: "Sent", failed: `${words} ` }[state];
    if (state === "failed") status.append(action("Retry", () => this.#onRetry(id)), action("Discard", () => this.#onDiscard(id)));
  }

  remove(id) {
    this.#pending.get(id)?.remove();
    this.#pending.delete(id);
  }

  // Elements

  #render() {
    this.#list.replaceChildren(...this.#frames.flatMap((frame, at) => this.#elements(frame, this.#frames[at - 1])));
  }

  #elements(frame, previous) {
    const elements = [];
    const date = new Date(frame.time);
    if (!previous || new Date(previous.time).toDateString() !== date.toDateString()) elements.push(line(day.format(date), "day"));
    if (frame.type === "notice") elements.push(line(NOTICES[frame.event]?.(frame) ?? frame.event));
    else elements.push(this.#bubble(frame, previous?.sender !== frame.sender || elements.length > 0));
    return elements;
  }

  #bubble(frame, first) {
    const item = document.createElement("li");
    item.className = "message";
    item.classList.toggle("own", frame.sender === this.#user);
    item.classList.toggle("first", first);
    item.dataset.id = frame.id;
    if (first && frame.sender !== this.#user) item.append(element("span", "sender", frame.sender));
    item.append(element("div", "bubble", frame.text));
    if (frame.time) {
      const stamp = element("time", "", time.format(new Date(frame.time)) + (frame.edited ? " · edited" : ""));
      stamp.dateTime = frame.time;
      item.append(stamp);
    } else {
      item.append(element("span", "state", ""));
    }
    return item;
  }

  /** Insert before what is being sent. */
  #insert(...elements) {
    const [firstPending] = this.#pending.values();
    for (const item of elements) this.#list.insertBefore(item, firstPending ?? null);
  }

  // Scrolling

  get #atEnd() {
    return this.#box.scrollHeight - this.#box.scrollTop - this.#box.clientHeight < NEAR;
  }

  #toEnd() {
    this.#box.scrollTop = this.#box.scrollHeight;
    this.#pill.hidden = true;
  }

  #settle(follow) {
    if (follow) this.#toEnd();
    else this.#pill.hidden = false;
  }
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

function line(text, kind = "") {
  return element("li", `system ${kind}`.trim(), text);
}

function action(text, onClick) {
  const button = element("button", "", text);
  button.type = "button";
  button.onclick = onClick;
  return button;
}
