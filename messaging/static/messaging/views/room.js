// The open room: its head, its stream, what is being sent, and the message box.

import { ReadMarks } from "../read_marks.js";
import { call } from "../rest.js";
import { Stream } from "../stream.js";
import { Composer } from "./composer.js";
import { ConfirmView } from "./confirm.js";
import { MessageMenu } from "./message_menu.js";
import { PeopleView } from "./people.js";
import { RoomPanel } from "./room_panel.js";
import { TimelineView } from "./timeline.js";
import { Typing } from "./typing.js";

const REPORT = {
  title: "Report this message?", words: "Those who lead the room and the operator are told.", action: "Report", asks: true, needed: true,
};
const BLOCK = { words: "You will not see what this person says, anywhere. The person is not told.", action: "Block" };
const KINDS = { public: "Public room", private: "Private room", direct: "Direct" };

export class RoomView {
  #section = document.getElementById("room");
  #title = document.getElementById("room-name");
  #kind = document.getElementById("room-kind");
  #room = null;
  #stream = null;
  #people = new PeopleView();
  #unread = 0;
  #user;
  #client;
  #rooms;
  #timeline;
  #composer;
  #panel;
  #marks;
  #typing = new Typing();

  /** `onOpen` gets the id of a room to go to; `onNewest` that of the open one, whose newest messages are to be shown. */
  constructor({ user, client, rooms, changes, drafts, onOpen, onNewest }) {
    this.#marks = new ReadMarks({ client });
    this.#user = user;
    this.#client = client;
    this.#rooms = rooms;
    const tell = (problem) => this.#timeline.warn(`The message is as it was. ${problem.message}`);
    this.#composer = new Composer({
      drafts,
      onSend: (text, replyTo) => {
        this.#timeline.pend(client.write(this.#room.id, text, replyTo?.id));
        if (!this.#stream.live) onNewest(this.#room.id);
      },
      onEdit: (message, text) => changes.edit(message.room, message.id, text).catch(tell),
      onTyping: () => this.#typing.send(client, this.#room.id),
    });
    const confirm = new ConfirmView();
    // What blocked people said goes out of sight, or comes back.
    this.#panel = new RoomPanel({ user, rooms, confirm, onOpen, onBlocks: () => this.#stream?.open() });
    document.getElementById("open-panel").onclick = () => this.#panel.open(this.#room.id);
    const menu = new MessageMenu({
      mayEdit: (message) => message.sender === user,
      mayDelete: (message) => message.sender === user || this.#moderates(),
      onReply: (message) => this.#composer.reply(message),
      onEdit: (message) => this.#composer.edit(message),
      onDelete: (message) => changes.delete(message.room, message.id).catch(tell),
      onReport: (message) =>
        confirm.ask(REPORT, (reason) =>
          call("POST", `/rooms/${message.room}/messages/${message.id}/report`, { reason }).then(
            () => this.#timeline.say("The message was reported."),
            (problem) => this.#timeline.warn(problem.message),
          ),
        ),
      onBlock: ({ sender }) =>
        confirm.ask({ ...BLOCK, title: `Block ${sender}?` }, () =>
          this.#panel.block(sender).catch((problem) => this.#timeline.warn(problem.message)),
        ),
    });
    this.#timeline = new TimelineView({
      user,
      onTop: () => this.#stream?.loadOlder(),
      onBottom: () => this.#stream?.loadNewer(),
      onNewest: () => onNewest(this.#room.id),
      onEnd: () => this.#seen(),
      onMenu: (message, button) => menu.open(message, button),
      onRetry: (id) => client.retry(id),
      onDiscard: (id) => {
        client.discard(id);
        this.#timeline.remove(id);
        this.#composer.focus();
      },
    });
    for (const state of ["pending", "sent", "failed"]) {
      client.addEventListener(state, ({ detail: entry }) => this.#timeline.mark(entry, state));
    }
    rooms.addEventListener("change", () => {
      this.#head();
      this.#seen();
    });
    document.addEventListener("visibilitychange", () => this.#seen());
    addEventListener("focus", () => this.#seen());
  }

  /** Open a room, or none; at a cursor, or at its newest messages. */
  show(room, at = null) {
    if ((room?.id ?? null) === (this.#room?.id ?? null)) {
      if (room !== null && (at !== null || !this.#stream.live)) this.#stream.open(at);
      return;
    }
    this.#stream?.close();
    this.#panel.close();
    this.#room = room;
    this.#people.reset();
    this.#typing.clear();
    this.#unread = room?.unread ?? 0;
    this.#stream = room && this.#listen(new Stream({ client: this.#client, room: room.id }));
    for (const part of [...this.#section.children]) {
      if (part.id !== "newest") part.hidden = (room === null) !== part.classList.contains("placeholder");
    }
    this.#composer.show(room?.id ?? null);
    this.#timeline.show(this.#stream, { entries: room ? this.#client.unsent(room.id) : [], unread: this.#unread });
    this.#head();
    if (room === null) return;
    // Without a connection the stream begins with it.
    if (this.#client.connected || at !== null) this.#stream.open(at);
    this.#composer.focus();
  }

  /** Whether a room is open, and its history is here. */
  has(id) {
    return this.#room?.id === id && !this.#stream.opening;
  }

  /** On each connection. */
  resume() {
    this.#people.reset();
    this.#stream?.resume();
  }

  #listen(stream) {
    const on = (type, work) => stream.addEventListener(type, ({ detail }) => stream === this.#stream && work(detail));
    on("reset", (at) => {
      this.#timeline.reset(at);
      this.#seen();
    });
    on("older", (frames) => this.#timeline.prepend(frames));
    on("newer", (frames) => this.#timeline.extend(frames));
    on("added", (frame) => this.#added(frame));
    on("changed", (frame) => this.#timeline.change(frame));
    on("ephemeral", (frame) => this.#ephemeral(frame));
    on("missed", () => this.#timeline.warn("Some messages may be missing above; reloaded from the history."));
    on("problem", (problem) => this.#timeline.warn(problem.message));
    return stream;
  }

  #added(frame) {
    this.#timeline.append(frame);
    if (frame.type === "notice") this.#panel.refresh();
    this.#typing.remove(frame.sender);
    if (frame.type === "message" && frame.sender !== this.#user) this.#unread += 1;
    this.#seen();
  }

  #ephemeral(frame) {
    this.#people.take(frame);
    if (frame.type === "presence" || frame.user === this.#user) return;
    if (frame.type === "typing") {
      this.#typing.add(frame.user);
    } else {
      if (frame.type === "left") this.#typing.remove(frame.user);
      this.#timeline.say(`${frame.user} ${frame.type === "joined" ? "entered" : "left"}`);
    }
  }

  #head() {
    if (this.#room === null) return;
    const room = this.#rooms.get(this.#room.id) ?? this.#room;
    if (this.#title.textContent !== room.name) this.#title.textContent = room.name;
    this.#kind.textContent = KINDS[room.kind] ?? "";
  }

  #moderates() {
    const { role, kind } = this.#rooms.get(this.#room.id) ?? this.#room;
    return kind !== "direct" && (role === "owner" || role === "moderator");
  }

  /** What is in view on a page that has the focus is read; the list shows how much is not. */
  #seen() {
    const newest = this.#stream?.timeline.last;
    if (!newest || !this.#stream.live) return;
    if (!document.hidden && document.hasFocus() && this.#timeline.following) {
      this.#unread = 0;
      this.#marks.note(this.#room.id, newest.cursor);
    }
    this.#rooms.setUnread(this.#room.id, this.#unread);
  }
}
