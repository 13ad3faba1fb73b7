// How a message, a notice and a day look in the timeline.

import { button, element, tone } from "./elements.js";

const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
const NOTICES = {
  member_joined: ({ user }) => `${user} joined the room`,
  member_left: ({ user }) => `${user} left the room`,
  member_removed: ({ user }) => `${user} was removed from the room`,
  renamed: ({ by, name }) => `${by ?? "Somebody"} renamed the room to “${name}”`,
};
const TOGETHER = 5 * 60_000; // milliseconds between two messages of a person that still stand together

const EXCERPT = 80; // characters of a message where it is quoted

/** A message or notice, with a line for the day in front where a new one begins. `look`: {user, firstNew: the id
 *  of the first message that the person has not seen, find: gives the message with an id, or nothing, onJump: gets the id of
 *  a quoted message, onMenu: gets a message and its button}. */
export function elementsOf(frame, previous, look) {
  const date = new Date(frame.time);
  const newDay = !previous || new Date(previous.time).toDateString() !== date.toDateString();
  const lines = newDay ? [line(day.format(date), "day")] : [];
  const isNew = frame.id === look.firstNew;
  if (isNew) lines.push(line("New messages", "new"));
  if (frame.type === "notice") lines.push(line(NOTICES[frame.event]?.(frame) ?? frame.event, "", frame.id));
  else lines.push(bubble(frame, { first: newDay || isNew || !together(previous, frame), look }));
  return lines;
}

function together(previous, frame) {
  return previous.sender === frame.sender && new Date(frame.time) - new Date(previous.time) < TOGETHER;
}

/** `first`: the first of several that a person says in a row. */
export function bubble(frame, { first, look }) {
  const own = frame.sender === look.user;
  const item = element("li", "message");
  item.classList.toggle("own", own);
  item.classList.toggle("first", first);
  item.classList.toggle("deleted", Boolean(frame.deleted));
  item.dataset.id = frame.id;
  const sender = element("span", `sender ${tone(frame.sender)}`, own ? "You" : frame.sender);
  if (own || !first) sender.classList.add("hidden"); // seen in the layout, heard by a screen reader
  const body = element("div", "bubble", frame.deleted ? deletion(frame) : frame.text);
  item.append(sender, ...quotes(frame, look), body, frame.time ? stamp(frame) : element("span", "state"));
  if (frame.time && !frame.deleted) item.append(more(frame, look));
  return item;
}

function deletion({ deleted_by: by, sender }) {
  return by === sender ? "This message was deleted." : `This message was deleted by ${by}.`;
}

/** The words of a message in one line. */
export function excerpt({ text, deleted }) {
  if (deleted) return "message deleted";
  const characters = [...text.slice(0, 4 * EXCERPT).replace(/\s+/g, " ").trim()];
  return characters.length > EXCERPT ? `${characters.slice(0, EXCERPT).join("")}…` : characters.join("");
}

/** The message that this one replies to, in front of it. */
function quotes({ reply_to: id }, look) {
  if (!id) return [];
  const made = element("div", "quote");
  const jump = button("link", "", () => look.onJump(id));
  made.append(element("span", "hidden", "In reply to "), jump);
  made.dataset.quote = id;
  fillQuote(made, look.find(id));
  return [made];
}

/** Say what is quoted; it may have been edited meanwhile, or not be here. */
export function fillQuote(made, original) {
  made.querySelector("button").textContent = original ? `${original.sender}: ${excerpt(original)}` : "an earlier message";
}

/** The button of a message's menu. One of them can be reached with Tab, the others with the arrow keys from there. */
function more(frame, look) {
  const made = button("more", "⋯", () => look.onMenu(frame, made));
  made.setAttribute("aria-label", `Actions for “${excerpt(frame)}”`);
  made.setAttribute("aria-haspopup", "true");
  made.tabIndex = -1;
  return made;
}

function stamp(frame) {
  const date = new Date(frame.time);
  const made = element("time", "", (frame.edited ? "edited " : "") + time.format(date));
  made.dateTime = frame.time;
  made.title = moment.format(date) + (frame.edited_at ? `, edited ${moment.format(new Date(frame.edited_at))}` : "");
  return made;
}

/** The state of a message on its way: pending, sent or failed (`words` say why). */
export function mark(item, state, words, { onRetry, onDiscard }) {
  item.classList.toggle("pending", state === "pending");
  item.classList.toggle("failed", state === "failed");
  const place = item.querySelector(".state");
  if (state === "failed") {
    const choices = element("span", "choices");
    choices.append(button("link", "Retry", onRetry), button("link", "Discard", onDiscard));
    place.replaceChildren(element("span", "", `Not sent. ${words}`), choices);
  } else {
    place.replaceChildren(element("span", `icon ${state}-icon`), element("span", "hidden", state === "sent" ? "Sent" : "Sending"));
  }
}

/** A centred line: a notice, a day, somebody who enters. */
export function line(text, kind = "", id = null) {
  const item = element("li", `system ${kind}`.trim(), text);
  if (id !== null) item.dataset.id = id;
  return item;
}
