// What one room brings: its history in pages, and live frames behind it without a gap.

import { Problem } from "./problems.js";
import { call } from "./rest.js";
import { Timeline } from "./timeline.js";

const PAGE = 50;
const PAUSE = 3_000; // milliseconds before what failed is tried again
const CALM = 20_000; // milliseconds between two times that the history is read anew because of a gap

let requests = 0; // each subscribe has an id of its own, so that late answers to earlier ones are told apart

/**
 * Events: `reset` (the timeline began anew), `older` (detail: the frames put in front), `added` and `changed` (detail: the
 * message or notice), `ephemeral` (detail: a joined, left or presence frame), `missed`, `problem` (detail: a Problem).
 */
export class Stream extends EventTarget {
  timeline = new Timeline();
  #connection;
  #room;
  #cursor = null; // a resume starts behind it; null: nothing is here yet, or a gap is, and the history must be read first
  #kept = []; // live messages behind a gap, while the history is read; shown again if the gap cannot be closed
  #before = null; // where older history goes on; null: there is none
  #request = null; // id of the newest subscribe
  #live = false; // that subscribe was answered
  #attempt = 0; // the newest reading of the newest page; what an earlier one brings is void
  #loading = false;
  #reloadedAt = 0;
  #timer = null;
  #closed = false;

  constructor({ connection, room }) {
    super();
    this.#connection = connection;
    this.#room = room;
  }

  get cursor() {
    return this.#cursor;
  }

  /** First the newest page, then the stream behind the place up to which the page is complete: no gap between.
   *  Resolves to whether the page is here. */
  async open() {
    clearTimeout(this.#timer);
    this.#request = null;
    this.#live = false;
    const attempt = (this.#attempt += 1);
    let page;
    try {
      page = await call("GET", `/rooms/${this.#room}/messages?limit=${PAGE}`);
    } catch (problem) {
      if (attempt === this.#attempt) this.#fail(problem);
      return false;
    }
    if (this.#closed || attempt !== this.#attempt) return false;
    this.#before = page.before;
    this.#cursor = page.stored;
    this.#kept = this.timeline.behind(page.items.at(-1));
    this.timeline.reset(page.items);
    this.#tell("reset");
    this.#subscribe();
    return true;
  }

  /** On each connection: go on where the stream ended. */
  resume() {
    if (this.#cursor === null) this.open();
    else this.#subscribe();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#connection.send({ type: "unsubscribe", id: `stream-${(requests += 1)}`, room: this.#room });
  }

  async loadOlder() {
    if (this.#before === null || this.#loading) return;
    this.#loading = true;
    const before = this.#before;
    try {
      const page = await call("GET", `/rooms/${this.#room}/messages?limit=${PAGE}&before=${encodeURIComponent(before)}`);
      // The history may have been read anew meanwhile.
      if (this.#closed || this.#before !== before) return;
      this.#before = page.before;
      this.#tell("older", this.timeline.prepend(page.items));
    } catch (problem) {
      this.#tell("problem", problem);
    } finally {
      this.#loading = false;
    }
  }

  /** Forget the oldest messages; they can be loaded again. */
  trim(keep) {
    this.timeline.trim(keep);
    this.#before = this.timeline.first.cursor;
  }

  take(frame) {
    const answer = this.#request !== null && frame.id === this.#request;
    if (answer && frame.type === "subscribed") this.#start(frame);
    else if (answer && frame.type === "error") this.#refused(new Problem(frame));
    else if (frame.room === this.#room && this.#live) this.#follow(frame);
  }

  #subscribe() {
    this.#live = false;
    this.#request = `stream-${(requests += 1)}`;
    this.#connection.send({ type: "subscribe", id: this.#request, room: this.#room, after: this.#cursor });
  }

  #start(frame) {
    this.#live = true;
    const kept = this.#kept;
    this.#kept = [];
    if (frame.recovered) return; // what was kept follows once more
    this.#cursor = null;
    kept.forEach((message) => this.#add(message));
    this.#reload();
  }

  #follow(frame) {
    if (frame.type === "joined" || frame.type === "left" || frame.type === "presence") {
      this.#tell("ephemeral", frame);
      return;
    }
    // Not an acknowledgement's cursor: what others sent before it may still be on its way.
    if (!["message", "notice", "edited", "deleted"].includes(frame.type)) return;
    // A cursor behind a gap would hide the gap from the next resume.
    if (this.#cursor !== null) this.#cursor = frame.cursor;
    if (frame.type === "message" || frame.type === "notice") {
      this.#add(frame);
    } else {
      const changed = this.timeline.change(frame);
      if (changed) this.#tell("changed", changed);
    }
  }

  #add(frame) {
    if (this.timeline.append(frame)) this.#tell("added", frame);
  }

  /** The gap cannot be filled by the server: read the history again, and say so. Never in a tight loop. */
  async #reload() {
    const wait = this.#reloadedAt + CALM - Date.now();
    if (wait > 0) {
      this.#again(() => this.#reload(), wait);
      return;
    }
    this.#reloadedAt = Date.now();
    if (await this.open()) this.#tell("missed");
  }

  #refused(problem) {
    // The cursor is of no use here (any more): begin anew.
    if (problem.code === "invalid" && this.#cursor !== null) {
      this.#cursor = null;
      this.#reload();
    } else {
      this.#fail(problem);
    }
  }

  #fail(problem) {
    if (this.#closed) return;
    this.#tell("problem", problem);
    if (problem.passing || problem.code === "internal") this.#again(() => this.resume(), Math.max(PAUSE, problem.retryAfter));
  }

  #again(work, delay) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connection.connected && work(), delay);
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
