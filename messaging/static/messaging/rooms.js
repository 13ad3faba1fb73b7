// The rooms that I may see, kept up to date.

import { call } from "./rest.js";
import { changed } from "./timeline.js";

const PAGE = 200;
const MOST = 1_000; // rooms that are loaded at once; the search finds the others

/** Event: `change`, once for all frames that came together. */
export class Rooms extends EventTarget {
  #rooms = new Map();
  #news = null; // frames that came while the list is being read
  #complete = false; // all rooms are here
  #told = false;

  get(id) {
    return this.#rooms.get(id);
  }

  /** Rooms whose name contains the words, the liveliest first. */
  find(words) {
    const wanted = words.trim().toLocaleLowerCase();
    return [...this.#rooms.values()]
      .filter((room) => room.name.toLocaleLowerCase().includes(wanted))
      .sort((a, b) => activity(b).localeCompare(activity(a)) || b.id - a.id);
  }

  get unread() {
    return [...this.#rooms.values()].reduce((sum, room) => sum + (room.unread ?? 0), 0);
  }

  /** On each connection: first follow what changes, then read what is there. */
  async resume(client) {
    client.tell({ type: "subscribe", id: "rooms", rooms: true });
    const news = (this.#news = []);
    try {
      const { rooms, complete } = await readRooms();
      if (this.#news !== news) return; // a later reading has begun
      this.#rooms = rooms;
      this.#complete = complete;
      this.#news = null;
      news.forEach((frame) => this.#apply(frame));
      this.#tell();
    } catch (problem) {
      if (this.#news === news) this.#news = null;
      throw problem;
    }
  }

  /** Fetch rooms that were too many to be loaded. */
  async search(words) {
    if (this.#complete || !words.trim()) return;
    const page = await call("GET", `/rooms?limit=50&q=${encodeURIComponent(words.trim())}`);
    for (const room of page.items) this.put(room);
  }

  /** The room, fetched when it is not here yet. */
  async fetch(id) {
    if (!this.#rooms.has(id)) this.put(await call("GET", `/rooms/${id}`));
    return this.#rooms.get(id);
  }

  async create(name, kind) {
    const room = await call("POST", "/rooms", { name, kind });
    this.put(room);
    return room;
  }

  put(room) {
    this.#rooms.set(room.id, { ...this.#rooms.get(room.id), ...room });
    this.#tell();
  }

  /** Messages of the open room that the person has not seen, or zero. */
  setUnread(id, unread) {
    const room = this.#rooms.get(id);
    if (!room || room.unread === unread) return;
    room.unread = unread;
    this.#tell();
  }

  take(frame) {
    this.#news?.push(frame);
    if (this.#apply(frame)) this.#tell();
  }

  #apply(frame) {
    const room = this.#rooms.get(frame.room);
    switch (frame.type) {
      case "room_created":
      case "room_updated":
        this.#rooms.set(frame.room.id, { ...this.#rooms.get(frame.room.id), ...frame.room });
        return true;
      case "room_deleted":
        return this.#rooms.delete(frame.room);
      case "removed":
        return room?.kind !== "public" && this.#rooms.delete(frame.room);
      case "unread":
        if (room) Object.assign(room, { unread: frame.count, last_message: frame.last_message ?? room.last_message });
        return Boolean(room);
      case "message":
        if (room) room.last_message = frame;
        return Boolean(room);
      case "edited":
      case "deleted":
        if (room?.last_message?.id !== frame.message) return false;
        changed(room.last_message, frame);
        return true;
    }
    return false;
  }

  #tell() {
    if (this.#told) return;
    this.#told = true;
    queueMicrotask(() => {
      this.#told = false;
      this.dispatchEvent(new Event("change"));
    });
  }
}

async function readRooms() {
  const rooms = new Map();
  let next = null;
  do {
    const page = await call("GET", `/rooms?limit=${PAGE}${next ? `&after=${encodeURIComponent(next)}` : ""}`);
    for (const room of page.items) rooms.set(room.id, room);
    next = page.next;
  } while (next && rooms.size < MOST);
  return { rooms, complete: next === null };
}

/** When something happened last, in a form that sorts. */
function activity(room) {
  return room.last_message?.time ?? room.created ?? "";
}
