// The live list of rooms and its search. Rows are kept and changed in place, so that the focus stays where it is.

import { avatar, button, element } from "./elements.js";

const TYPING = 250; // milliseconds of rest before the server is asked
const KINDS = { private: "Private · ", direct: "Direct · " };
const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

export class RoomListView {
  #list = document.getElementById("rooms");
  #search = document.getElementById("room-search");
  #none = document.getElementById("no-rooms");
  #rows = new Map(); // room id → its list item
  #current = null;
  #timer = null;
  #rooms;
  #onChoose;

  constructor({ rooms, onChoose }) {
    this.#rooms = rooms;
    this.#onChoose = onChoose;
    rooms.addEventListener("change", () => this.#render());
    this.#search.oninput = () => {
      this.#render();
      clearTimeout(this.#timer);
      // A search that fails has still shown what is here.
      this.#timer = setTimeout(() => rooms.search(this.#search.value).catch(() => null), TYPING);
    };
  }

  /** Mark the room that is open; null for none. */
  mark(id) {
    this.#current = id;
    this.#render();
  }

  #render() {
    const rooms = this.#rooms.find(this.#search.value);
    const focused = document.activeElement;
    const wanted = rooms.map((room) => this.#update(room));
    const kept = new Set(wanted);
    for (const row of [...this.#list.children]) if (!kept.has(row)) row.remove();
    wanted.forEach((row, at) => {
      if (this.#list.children[at] !== row) this.#list.insertBefore(row, this.#list.children[at] ?? null);
    });
    // A row that was moved has lost it.
    if (focused !== document.activeElement && this.#list.contains(focused)) focused.focus();
    this.#none.textContent = this.#search.value.trim() ? "No room has such a name." : "No room here yet. Make the first one.";
    this.#none.hidden = rooms.length > 0;
  }

  #update(room) {
    if (!this.#rows.has(room.id)) this.#rows.set(room.id, this.#row(room.id));
    const item = this.#rows.get(room.id);
    const row = item.firstChild;
    const look = JSON.stringify([room.name, room.kind, room.unread, preview(room), room.id === this.#current]);
    if (item.look === look) return item;
    item.look = look;
    const name = element("span", "name", room.name);
    const parts = [avatar(room.name), name, element("span", "when", when(room)), element("span", "detail", preview(room))];
    if (room.unread) parts.push(badge(room.unread));
    row.replaceChildren(...parts);
    row.classList.toggle("unread", Boolean(room.unread));
    if (room.id === this.#current) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
    return item;
  }

  #row(id) {
    const item = element("li");
    item.append(button("room-row", "", () => this.#onChoose(id)));
    return item;
  }
}

function preview(room) {
  const last = room.last_message;
  if (last?.deleted) return `${KINDS[room.kind] ?? ""}${last.sender}: message deleted`;
  if (last?.text) return `${KINDS[room.kind] ?? ""}${last.sender}: ${last.text}`;
  return (KINDS[room.kind] ?? "") + (room.members ? `${room.members} ${room.members === 1 ? "member" : "members"}` : "New room");
}

/** The time of the last message: today's by the clock, others by the day. */
function when(room) {
  if (!room.last_message?.time) return "";
  const date = new Date(room.last_message.time);
  return (date.toDateString() === new Date().toDateString() ? time : day).format(date);
}

function badge(count) {
  const made = element("span", "badge", count > 99 ? "99+" : String(count));
  made.append(element("span", "hidden", " unread"));
  return made;
}
