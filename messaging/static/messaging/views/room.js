// The open room: its stream and history, what is being sent, and the message box.

import { call, sentence } from "../rest.js";
import { Timeline } from "./timeline.js";

const PAGE = 50;
const KINDS = { public: "", private: "Private", direct: "Direct" };

export class RoomView {
  id = null;
  #user;
  #connection;
  #outbox;
  #timeline;
  #cursor = null; // of the newest frame of the stream; a resume starts behind it
  #before = null; // where older history goes on; null: there is none
  #loading = false;
  #text = document.getElementById("text");
  #section = document.getElementById("room");

  constructor({ user, connection, outbox }) {
    this.#user = user;
    this.#connection = connection;
    this.#outbox = outbox;
    this.#timeline = new Timeline({
      user,
      onTop: () => this.#loadOlder(),
      onRetry: (id) => this.#retry(id),
      onDiscard: (id) => this.#discard(id),
    });
    document.getElementById("composer").onsubmit = (event) => {
      event.preventDefault();
      this.#submit();
    };
    this.#text.onkeydown = (event) => this.#key(event);
  }

  /** Open a room, or none. */
  async show(room) {
    if (this.id !== null && this.id !== room?.id) this.#connection.send({ type: "unsubscribe", id: "room", room: this.id });
    if (this.id === (room?.id ?? null)) return;
    this.id = room?.id ?? null;
    this.#cursor = null;
    this.#timeline.clear();
    for (const part of [...this.#section.children]) {
      if (part.id !== "newest") part.hidden = (room === null) !== part.classList.contains("placeholder");
    }
    if (room === null) return;
    document.getElementById("room-name").textContent = room.name;
    document.getElementById("room-kind").textContent = KINDS[room.kind] ?? "";
    await this.#open();
    if (matchMedia("(hover: hover)").matches) this.#text.focus();
  }

  /** On each connection: go on where the stream ended, and send what is not acknowledged. */
  resume() {
    if (this.id !== null && this.#cursor !== null) this.#subscribe();
    else if (this.id !== null) this.#open();
    for (const entry of this.#outbox.unsent()) this.#send(entry);
  }

  take(frame) {
    if (frame.type === "ack" || frame.type === "error") return this.#takeAnswer(frame);
    if (frame.type === "room_updated" && frame.room.id === this.id) {
      document.getElementById("room-name").textContent = frame.room.name;
    }
    if (frame.room !== this.id) return;
    if (frame.cursor && frame.type !== "subscribed") this.#cursor = frame.cursor;
    switch (frame.type) {
      case "subscribed":
        this.#cursor ??= frame.cursor;
        if (!frame.recovered) this.#reload();
        break;
      case "message":
        this.#outbox.remove(frame.id);
        this.#timeline.append(frame);
        break;
      case "notice":
        this.#timeline.append(frame);
        break;
      case "joined":
      case "left":
        if (frame.user !== this.#user) this.#timeline.say(`${frame.user} ${frame.type === "joined" ? "entered" : "left"}`);
        break;
    }
  }

  // The stream

  /** First the newest page, then the stream behind the place up to which the page is complete: no gap between. */
  async #open() {
    const room = this.id;
    let page;
    try {
      page = await call("GET", `/rooms/${room}/messages?limit=${PAGE}`);
    } catch (problem) {
      if (room === this.id) this.#timeline.say(problem.message, "warning");
      return;
    }
    if (room !== this.id) return;
    this.#before = page.before;
    this.#timeline.reset(page.items, this.#outbox.inRoom(room));
    this.#cursor = page.stored;
    this.#subscribe();
  }

  #subscribe() {
    this.#connection.send({ type: "subscribe", id: "room", room: this.id, after: this.#cursor });
  }

  /** The gap cannot be filled from memory: read the history again, and say so. */
  async #reload() {
    this.#cursor = null;
    await this.#open();
    this.#timeline.say("Some messages may have been missed; this is the stored history.", "warning");
  }

  async #loadOlder() {
    if (this.#before === null || this.#loading) return;
    this.#loading = true;
    const room = this.id;
    document.getElementById("older").hidden = false;
    try {
      const page = await call("GET", `/rooms/${room}/messages?limit=${PAGE}&before=${encodeURIComponent(this.#before)}`);
      if (room !== this.id) return;
      this.#before = page.before;
      this.#timeline.prepend(page.items);
    } catch (problem) {
      this.#timeline.say(problem.message, "warning");
    } finally {
      this.#loading = false;
      document.getElementById("older").hidden = true;
    }
  }

  // Sending

  #key(event) {
    // Enter that ends an input-method composition (Korean, Japanese, Chinese) belongs to the composition. Safari fires
    // it after compositionend, with the key code 229.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    this.#submit();
  }

  #submit() {
    const text = this.#text.value;
    if (this.id === null || !text.trim()) return;
    this.#text.value = "";
    const entry = this.#outbox.add(this.id, text);
    this.#timeline.pend(entry);
    this.#send(entry);
  }

  #send(entry) {
    const frame = { type: "send", id: entry.id, room: entry.room, text: entry.text };
    if (entry.sent) frame.retry = true;
    if (this.#connection.send(frame)) this.#outbox.update(entry.id, { sent: true });
  }

  #takeAnswer(frame) {
    if (frame.type === "ack") {
      this.#outbox.remove(frame.id);
      this.#timeline.mark(frame.id, "sent");
      return;
    }
    const entry = this.#outbox.get(frame.id);
    if (entry) {
      this.#outbox.update(entry.id, { failed: frame.code });
      this.#timeline.mark(entry.id, "failed", sentence(frame.code));
    } else if (frame.id === "room") {
      this.#timeline.say(sentence(frame.code), "warning");
    }
  }

  #retry(id) {
    const entry = this.#outbox.update(id, { failed: null });
    this.#timeline.mark(id, "pending");
    if (entry) this.#send(entry);
  }

  #discard(id) {
    this.#outbox.remove(id);
    this.#timeline.remove(id);
  }
}
