// The panel of a room: who is in it, and what one may do there.

import { call } from "../rest.js";
import { avatar, button, element, placeAt } from "./elements.js";

const HOUR = 3_600_000; // milliseconds
const DAY = 24 * HOUR;
const PAGE = 100;
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export class RoomPanel {
  #dialog = document.getElementById("room-panel");
  #title = document.getElementById("panel-title");
  #error = document.getElementById("panel-error");
  #rename = document.getElementById("panel-rename");
  #add = document.getElementById("panel-add");
  #members = document.getElementById("panel-members");
  #more = document.getElementById("panel-more");
  #bans = document.getElementById("panel-bans");
  #reports = document.getElementById("panel-reports");
  #menu = document.getElementById("member-menu");
  #leave = document.getElementById("leave-room");
  #delete = document.getElementById("delete-room");
  #user;
  #rooms;
  #confirm;
  #onOpen;
  #onBlocks;
  #id = null; // the room that is shown
  #blocked = new Set(); // whom the person blocks
  #reading = 0; // the newest reading; what an earlier one brings is void
  #next = null; // where the list of members goes on

  /** `onOpen` gets the id of a direct room, `onBlocks` is told when somebody is blocked or not any more. */
  constructor({ user, rooms, confirm, onOpen, onBlocks }) {
    this.#user = user;
    this.#rooms = rooms;
    this.#confirm = confirm;
    this.#onOpen = onOpen;
    this.#onBlocks = onBlocks;
    document.getElementById("close-panel").onclick = () => this.#dialog.close();
    // A click on the backdrop has the dialog itself as its target.
    this.#dialog.onclick = (event) => {
      if (event.target === this.#dialog) this.#dialog.close();
    };
    this.#rename.onsubmit = (event) => this.#submit(event, (name) => this.#change({ name }));
    this.#add.onsubmit = (event) =>
      this.#submit(event, async (person) => {
        await call("PUT", this.#path("members", person));
        event.target.reset();
        await this.#read();
      });
    this.#more.onclick = () => this.#try(() => this.#readMore());
    this.#leave.onclick = () => this.#askToLeave();
    this.#delete.onclick = () => this.#askToDelete();
    rooms.addEventListener("change", () => this.#dialog.open && this.#head());
  }

  open(id) {
    this.#id = id;
    this.#add.reset();
    for (const list of [this.#members, this.#bans, this.#reports]) list.replaceChildren();
    this.#rename.elements.name.value = this.#room.name;
    this.#head();
    this.#dialog.showModal();
    this.#try(() => this.#read());
  }

  close() {
    this.#dialog.close();
  }

  /** Somebody came or went. */
  refresh() {
    if (this.#dialog.open) this.#try(() => this.#read());
  }

  /** Hide somebody's words, for the message menu. */
  async block(person) {
    await call("PUT", `/me/blocks/${encodeURIComponent(person)}`);
    this.#onBlocks();
  }

  get #room() {
    return this.#rooms.get(this.#id) ?? { id: this.#id, name: "", kind: "public", role: null };
  }

  get #leads() {
    return this.#room.kind !== "direct" && (this.#room.role === "owner" || this.#room.role === "moderator");
  }

  #path(...parts) {
    return ["/rooms", this.#id, ...parts.map(encodeURIComponent)].join("/");
  }

  #head() {
    const { name, kind, role } = this.#room;
    this.#title.textContent = name;
    this.#rename.hidden = !this.#leads;
    this.#add.hidden = !(this.#leads && kind === "private");
    this.#leave.hidden = kind === "direct" || !role;
    this.#delete.hidden = kind === "direct" || role !== "owner";
  }

  // Reading

  async #read() {
    const reading = (this.#reading += 1);
    const nothing = { items: [] };
    const [blocks, members, bans, reports] = await Promise.all([
      call("GET", "/me/blocks?limit=200"),
      call("GET", this.#membersPath()),
      this.#leads ? call("GET", this.#path("bans")) : nothing,
      this.#leads ? call("GET", this.#path("reports")) : nothing,
    ]);
    if (reading !== this.#reading) return;
    this.#blocked = new Set(blocks.items.map(({ user }) => user));
    this.#members.replaceChildren();
    this.#append(members);
    this.#bans.replaceChildren(...bans.items.map((ban) => this.#banRow(ban)));
    this.#reports.replaceChildren(...reports.items.map(reportRow));
    for (const list of [this.#bans, this.#reports]) list.parentElement.hidden = list.children.length === 0;
  }

  async #readMore() {
    const reading = this.#reading;
    const members = await call("GET", `${this.#membersPath()}&after=${encodeURIComponent(this.#next)}`);
    if (reading === this.#reading) this.#append(members);
  }

  #membersPath() {
    return `${this.#path("members")}?limit=${PAGE}`;
  }

  #append({ items, next }) {
    this.#members.append(...items.map((member) => this.#memberRow(member)));
    this.#next = next;
    this.#more.hidden = next === null;
  }

  // Rows

  #memberRow(member) {
    const muted = member.muted_until && new Date(member.muted_until) > new Date();
    const marks = [
      member.user === this.#user && "you",
      member.role !== "member" && member.role,
      muted && `muted until ${moment.format(new Date(member.muted_until))}`,
      this.#blocked.has(member.user) && "blocked",
    ].filter(Boolean);
    const row = personRow(member.user, marks.join(" · "));
    const actions = this.#actions(member, muted);
    if (actions.length) row.append(this.#menuButton(member.user, actions));
    return row;
  }

  #banRow({ user, until, reason }) {
    const words = [until ? `until ${moment.format(new Date(until))}` : "for good", reason].filter(Boolean).join(" · ");
    const row = personRow(user, words);
    const lift = button("link", "Lift", () => this.#do("DELETE", this.#path("bans", user)));
    lift.setAttribute("aria-label", `Lift the ban of ${user}`);
    row.append(lift);
    return row;
  }

  #menuButton(person, actions) {
    const made = button("more", "⋯", () => {
      this.#menu.replaceChildren(...actions.map(({ name, danger, work }) => button(danger ? "danger" : "", name, () => {
        this.#menu.hidePopover();
        work();
      })));
      this.#menu.setAttribute("aria-label", `Actions for ${person}`);
      this.#menu.showPopover();
      placeAt(this.#menu, made.getBoundingClientRect());
      this.#menu.firstElementChild.focus();
    });
    made.setAttribute("aria-label", `Actions for ${person}`);
    made.setAttribute("aria-haspopup", "true");
    return made;
  }

  /** What the person may do to a member: [{name, danger, work}]. */
  #actions({ user, role }, muted) {
    if (user === this.#user) return [];
    const { kind, role: mine } = this.#room;
    const actions = [];
    const offer = (name, work, danger = false) => actions.push({ name, danger, work });
    const change = (body) => this.#do("PUT", this.#path("members", user), body);
    if (kind !== "direct" && !this.#blocked.has(user)) offer("Message", () => this.#try(() => this.#message(user)));
    if (this.#leads && mine === "owner") {
      if (role === "member") offer("Make moderator", () => change({ role: "moderator" }));
      else offer("Make member", () => change({ role: "member" }));
      offer("Hand the room over", () => this.#ask(`Hand the room over to ${user}?`, "You stay as a moderator.", "Hand over", () => change({ role: "owner" })));
    }
    if (this.#leads && (mine === "owner" || role === "member")) {
      if (muted) offer("Unmute", () => change({ muted_until: null }));
      else {
        offer("Mute for an hour", () => change({ muted_until: later(HOUR) }));
        offer("Mute for a day", () => change({ muted_until: later(DAY) }));
      }
      offer("Remove", () => this.#ask(`Remove ${user}?`, "Into a public room people may come back.", "Remove", () => this.#do("DELETE", this.#path("members", user))), true);
      offer("Ban for a day", () => this.#askToBan(user, DAY), true);
      offer("Ban for good", () => this.#askToBan(user, null), true);
    }
    const blocked = this.#blocked.has(user);
    offer(blocked ? "Unblock" : "Block", () => this.#try(() => this.#setBlock(user, !blocked)), !blocked);
    return actions;
  }

  // Acting

  async #setBlock(person, blocked) {
    await call(blocked ? "PUT" : "DELETE", `/me/blocks/${encodeURIComponent(person)}`);
    this.#onBlocks();
    await this.#read();
  }

  async #message(person) {
    const room = await call("POST", "/direct", { user: person });
    this.#rooms.put(room);
    this.#dialog.close();
    this.#onOpen(room.id);
  }

  async #change(body) {
    this.#rooms.put(await call("PATCH", this.#path(), body));
  }

  /** Act, and show what has become of it; a hand-over changes also what one may do oneself. */
  #do(method, path, body) {
    return this.#try(async () => {
      await call(method, path, body);
      this.#rooms.put(await call("GET", this.#path()));
      await this.#read();
    });
  }

  #ask(title, words, action, work) {
    this.#confirm.ask({ title, words, action }, work);
  }

  #askToBan(user, time) {
    const words = "Whoever is banned neither enters nor reads the room until the ban ends or is lifted.";
    this.#confirm.ask({ title: `Ban ${user} ${time ? "for a day" : "for good"}?`, words, action: "Ban", asks: true }, (reason) =>
      this.#do("PUT", this.#path("bans", user), { reason, until: time && later(time) }));
  }

  #askToLeave() {
    const words = this.#room.kind === "private" ? "Somebody has to add you before you can come back." : "You may come back at any time.";
    this.#ask("Leave this room?", words, "Leave", () => this.#try(async () => {
      await call("DELETE", this.#path("membership"));
      this.#dialog.close();
    }));
  }

  #askToDelete() {
    this.#ask("Delete this room?", "All that was said in it is gone for everybody, for good.", "Delete room", () => this.#try(async () => {
      await call("DELETE", this.#path());
      this.#dialog.close();
    }));
  }

  /** The one field of a form is given to `work`. */
  #submit(event, work) {
    event.preventDefault();
    this.#try(() => work(event.target.querySelector("input").value.trim()));
  }

  async #try(work) {
    this.#error.hidden = true;
    try {
      await work();
    } catch (problem) {
      this.#error.textContent = problem.message;
      this.#error.hidden = false;
    }
  }
}

function personRow(name, words) {
  const row = element("li", "member");
  const person = element("div", "person");
  person.append(element("strong", "", name), element("span", "muted", words));
  row.append(avatar(name), person);
  return row;
}

function reportRow({ message, reason }) {
  return personRow(message.sender, `“${message.text ?? ""}” — ${reason}`);
}

function later(milliseconds) {
  return new Date(Date.now() + milliseconds).toISOString();
}
