// The live list of rooms, its search, and the dialog that makes a room.

import { call } from "../rest.js";

export class RoomListView {
  #list = document.getElementById("rooms");
  #search = document.getElementById("room-search");
  #dialog = document.getElementById("room-dialog");
  #rooms = new Map();
  #current = null;
  #connection;
  #onChoose;

  constructor({ connection, onChoose }) {
    this.#connection = connection;
    this.#onChoose = onChoose;
    this.#search.oninput = () => this.#render();
    document.getElementById("new-room").onclick = () => this.#ask();
    document.getElementById("cancel-room").onclick = () => this.#dialog.close();
    this.#dialog.querySelector("form").onsubmit = (event) => this.#create(event);
  }

  /** On each connection: first follow what changes, then read what is there. */
  async resume() {
    this.#connection.send({ type: "subscribe", id: "rooms", rooms: true });
    const rooms = new Map();
    let next = null;
    do {
      const page = await call("GET", `/rooms?limit=200${next ? `&after=${encodeURIComponent(next)}` : ""}`).catch(() => null);
      if (page === null) return;
      for (const room of page.items) rooms.set(room.id, room);
      next = page.next;
    } while (next);
    this.#rooms = rooms;
    this.#render();
  }

  take(frame) {
    switch (frame.type) {
      case "room_created":
      case "room_updated":
        this.#rooms.set(frame.room.id, { ...this.#rooms.get(frame.room.id), ...frame.room });
        break;
      case "room_deleted":
        this.#rooms.delete(frame.room);
        break;
      case "removed":
        if (this.#rooms.get(frame.room)?.kind !== "public") this.#rooms.delete(frame.room);
        break;
      case "unread":
        Object.assign(this.#rooms.get(frame.room) ?? {}, { unread: frame.count, last_message: frame.last_message });
        break;
      case "message":
        Object.assign(this.#rooms.get(frame.room) ?? {}, { last_message: frame });
        break;
      default:
        return;
    }
    this.#render();
  }

  /** Mark the room that is open; null for none. */
  mark(id) {
    this.#current = id;
    const room = this.#rooms.get(id);
    if (room) room.unread = 0;
    this.#render();
  }

  #render() {
    const wanted = this.#search.value.trim().toLocaleLowerCase();
    const rooms = [...this.#rooms.values()]
      .filter((room) => room.name.toLocaleLowerCase().includes(wanted))
      .sort((a, b) => b.id - a.id);
    this.#list.replaceChildren(...rooms.map((room) => this.#row(room)));
    document.getElementById("no-rooms").hidden = rooms.length > 0;
    const unread = [...this.#rooms.values()].reduce((sum, room) => sum + (room.unread || 0), 0);
    document.title = unread ? `(${unread}) Chat` : "Chat";
  }

  #row(room) {
    const row = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "room-row";
    if (room.id === this.#current) button.setAttribute("aria-current", "true");
    button.onclick = () => this.#onChoose(room);
    const kind = room.kind === "public" ? "" : `${room.kind === "private" ? "Private" : "Direct"} · `;
    const detail = room.last_message?.text ?? (room.members ? `${room.members} ${room.members === 1 ? "member" : "members"}` : "New room");
    button.append(part("avatar", [...room.name][0].toLocaleUpperCase(), true), part("name", room.name));
    if (room.unread) button.append(part("badge", String(room.unread)));
    button.append(part("detail", kind + detail));
    row.append(button);
    return row;
  }

  #ask() {
    this.#dialog.querySelector("form").reset();
    this.#dialog.querySelector(".error").hidden = true;
    this.#dialog.showModal();
  }

  async #create(event) {
    event.preventDefault();
    const form = event.target;
    const error = form.querySelector(".error");
    try {
      const room = await call("POST", "/rooms", { name: form.elements.name.value, kind: form.elements.kind.value });
      this.#dialog.close();
      this.#rooms.set(room.id, room);
      this.#onChoose(room);
    } catch (problem) {
      error.textContent = problem.message;
      error.hidden = false;
    }
  }
}

function part(name, text, decorative = false) {
  const element = document.createElement("span");
  element.className = name;
  element.textContent = text;
  if (decorative) element.setAttribute("aria-hidden", "true");
  return element;
}
