// What one room brings: its history in pages, and live frames behind it without a gap.

import { Problem } from "./problems.js";
import { call } from "./rest.js";
import { Timeline } from "./timeline.js";

const PAGE = 50;
const PAUSE = 3_000; // milliseconds before the history is read again where that failed
const CALM = 20_000; // milliseconds between two times that the history is read anew because of a gap

/**
 * Events: `reset` (the timeline began anew; detail: the cursor that it is around, or null), `older` (detail: the frames put in front),
 * `newer` (detail: the frames put behind a page around some place), `added` and `changed` (detail: the message or
 * notice), `ephemeral` (detail: a joined, left, presence or typing frame), `missed`, `problem` (detail: a Problem).
 */
export class Stream extends EventTarget {
  timeline = new Timeline();
  opening = false; // the newest reading is under way
  #client;
  #room;
  #kept = []; // live messages behind a gap, while the history is read; shown again if the gap cannot be closed
  #before = null; // where older history goes on; null: there is none
  #after = null; // where newer history goes on, on a page around some place; null: the newest is here, and live
  #attempt = 0; // the newest reading of the newest page; what an earlier one brings is void
  #loading = false;
  #reloadedAt = 0;
  #timer = null;
  #listening = new AbortController();

  constructor({ client, room }) {
    super();
    this.#client = client;
    this.#room = room;
    const { signal } = this.#listening;
    const on = (type, work) =>
      client.addEventListener(type, ({ detail }) => detail.room === room && work(detail), { signal });
    on("frame", (frame) => this.#follow(frame));
    on("subscribed", ({ recovered }) => this.#start(recovered));
    on("gap", () => this.#reload());
    on("refused", (error) => this.#tell("problem", new Problem(error)));
  }

  /** First the newest page, then the stream behind the place up to which the page is complete: no gap between. With `at`,
   *  a cursor, the page around it; what is newer is loaded on demand, and the stream begins when all of it is here.
   *  Resolves to whether the page is here. */
  async open(at = null) {
    clearTimeout(this.#timer);
    const attempt = (this.#attempt += 1);
    this.opening = true;
    let page;
    try {
      page = await this.#read(at === null ? "" : `&around=${encodeURIComponent(at)}`);
    } catch (problem) {
      if (attempt !== this.#attempt) return false;
      this.opening = false;
      this.#fail(problem, at);
      return false;
    }
    if (this.#closed || attempt !== this.#attempt) return false;
    this.opening = false;
    this.#before = page.before;
    this.#after = page.after;
    this.#kept = at === null ? this.timeline.behind(page.items.at(-1)) : [];
    this.timeline.reset(page.items);
    this.#tell("reset", at);
    if (this.live) this.#client.subscribe(this.#room, page.stored);
    else this.#client.unsubscribe(this.#room);
    return true;
  }

  /** Whether the newest messages are here, and what follows comes by itself. */
  get live() {
    return this.#after === null;
  }

  /** On each connection: what the client does not resume by itself begins anew. */
  resume() {
    if (this.live && !this.opening && !this.#client.resumes(this.#room)) this.open();
  }

  close() {
    this.#listening.abort();
    clearTimeout(this.#timer);
    this.#client.unsubscribe(this.#room);
  }

  get #closed() {
    return this.#listening.signal.aborted;
  }

  async loadOlder() {
    if (this.#before === null || this.#loading) return;
    this.#loading = true;
    const before = this.#before;
    try {
      const page = await this.#read(`&before=${encodeURIComponent(before)}`);
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

  async loadNewer() {
    if (this.live || this.#loading) return;
    this.#loading = true;
    const after = this.#after;
    try {
      const page = await this.#read(`&after=${encodeURIComponent(after)}`);
      if (this.#closed || this.#after !== after) return;
      this.#tell("newer", page.items.filter((frame) => this.timeline.append(frame)));
      this.#after = page.after;
      if (this.live) this.#client.subscribe(this.#room, page.stored);
    } catch (problem) {
      this.#tell("problem", problem);
    } finally {
      this.#loading = false;
    }
  }

  #read(place) {
    return call("GET", `/rooms/${this.#room}/messages?limit=${PAGE}${place}`);
  }

  /** Forget the oldest messages; they can be loaded again. */
  trim(keep) {
    this.timeline.trim(keep);
    this.#before = this.timeline.first.cursor;
  }

  #start(recovered) {
    // Without a gap, what was kept follows once more.
    if (!recovered) this.#kept.forEach((message) => this.#add(message));
    this.#kept = [];
  }

  #follow(frame) {
    if (frame.type === "joined" || frame.type === "left" || frame.type === "presence" || frame.type === "typing") {
      this.#tell("ephemeral", frame);
    } else if (frame.type === "message" || frame.type === "notice") {
      this.#add(frame);
    } else if (frame.type === "edited" || frame.type === "deleted") {
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

  #fail(problem, at) {
    if (this.#closed) return;
    this.#tell("problem", problem);
    if (problem.passing || problem.code === "internal") this.#again(() => this.open(at), Math.max(PAUSE, problem.retryAfter));
  }

  #again(work, delay) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#client.connected && work(), delay);
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
