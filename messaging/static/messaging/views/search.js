// Messages that say what is typed into the search field, below the rooms that are called so.

import { Problem } from "../problems.js";
import { call } from "../rest.js";
import { button, element } from "./elements.js";

const TYPING = 400; // milliseconds of rest before the server is asked
const SHORTEST = 2; // characters; of Chinese, Japanese, Korean and Thai one is enough
const PAGE = 20;
const BEFORE = 30; // characters in front of the first word that was found
const EXCERPT = 140; // characters
const date = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });

export class SearchView {
  #field = document.getElementById("room-search");
  #section = document.getElementById("found");
  #list = document.getElementById("found-messages");
  #status = document.getElementById("found-status");
  #more = document.getElementById("found-more");
  #asked = 0; // the newest question; what an earlier one brings is void
  #timer = null;
  #rooms;
  #onChoose;

  /** `onChoose` gets a message's room and cursor. */
  constructor({ rooms, onChoose }) {
    this.#rooms = rooms;
    this.#onChoose = onChoose;
    this.#field.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#asked += 1;
      const words = this.#field.value.trim();
      this.#section.hidden = !isEnough(words);
      if (isEnough(words)) this.#timer = setTimeout(() => this.#search(words, null), TYPING);
    });
  }

  async #search(words, after) {
    const question = (this.#asked += 1);
    this.#more.hidden = true;
    this.#status.textContent = "Searching …";
    if (after === null) this.#list.replaceChildren();
    try {
      const cursor = after === null ? "" : `&after=${encodeURIComponent(after)}`;
      const page = await call("GET", `/search?limit=${PAGE}&q=${encodeURIComponent(words)}${cursor}`);
      const names = await this.#names(page.items);
      if (question !== this.#asked) return;
      this.#list.append(...page.items.map((found) => this.#row(found, names.get(found.room))));
      this.#status.textContent = this.#list.children.length ? "" : "No message says that.";
      this.#more.hidden = page.next === null;
      this.#more.onclick = () => this.#search(words, page.next);
    } catch (problem) {
      if (question === this.#asked) this.#status.textContent = (problem instanceof Problem ? problem : new Problem({})).message;
    }
  }

  /** Room → its name; a room of the list or of a long list's rest, or one that is gone meanwhile. */
  async #names(items) {
    const rooms = [...new Set(items.map(({ room }) => room))];
    const found = await Promise.all(rooms.map((room) => this.#rooms.fetch(room).catch(() => null)));
    return new Map(rooms.map((room, at) => [room, found[at]?.name ?? ""]));
  }

  #row(found, name) {
    const item = element("li");
    const row = button("found-row", "", () => this.#onChoose(found.room, found.cursor));
    const head = element("span", "found-head");
    head.append(element("span", "name", name), element("span", "when", date.format(new Date(found.time))));
    const words = element("span", "found-words");
    words.append(element("span", "found-sender", `${found.sender}: `), ...marked(found));
    row.append(head, words);
    item.append(row);
    return item;
  }
}

function isEnough(words) {
  return words.length >= SHORTEST || /[^\u0000-\u0dff]/.test(words);
}

/** The text around the first word that was found, each of them marked. The server counts in code points. */
function marked({ text = "", highlights }) {
  const signs = [...text];
  const start = Math.max(0, (highlights[0]?.[0] ?? 0) - BEFORE);
  const end = Math.min(signs.length, start + EXCERPT);
  const between = (from, to) => signs.slice(from, to).join("").replace(/\s+/g, " ");
  const parts = [start > 0 ? "…" : ""];
  let at = start;
  for (const [from, to] of highlights) {
    if (from >= end) break;
    parts.push(between(at, from), element("mark", "", between(from, Math.min(to, end))));
    at = Math.min(to, end);
  }
  return [...parts, between(at, end), end < signs.length ? "…" : ""];
}
