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

/** A message or notice, with a line for the day in front where a new one begins. */
export function elementsOf(frame, previous, user) {
  const date = new Date(frame.time);
  const newDay = !previous || new Date(previous.time).toDateString() !== date.toDateString();
  const lines = newDay ? [line(day.format(date), "day")] : [];
  if (frame.type === "notice") lines.push(line(NOTICES[frame.event]?.(frame) ?? frame.event, "", frame.id));
  else lines.push(bubble(frame, { own: frame.sender === user, first: newDay || !together(previous, frame) }));
  return lines;
}

function together(previous, frame) {
  return previous.sender === frame.sender && new Date(frame.time) - new Date(previous.time) < TOGETHER;
}

/** `first`: the first of several that a person says in a row. */
export function bubble(frame, { own, first }) {
  const item = element("li", "message");
  item.classList.toggle("own", own);
  item.classList.toggle("first", first);
  item.classList.toggle("deleted", !frame.text);
  item.dataset.id = frame.id;
  const sender = element("span", `sender ${tone(frame.sender)}`, own ? "You" : frame.sender);
  if (own || !first) sender.classList.add("hidden"); // seen in the layout, heard by a screen reader
  const body = element("div", "bubble", frame.text ?? "This message was deleted.");
  item.append(sender, body, frame.time ? stamp(frame) : element("span", "state"));
  return item;
}

function stamp(frame) {
  const date = new Date(frame.time);
  const made = element("time", "", (frame.edited ? "edited " : "") + time.format(date));
  made.dateTime = frame.time;
  made.title = moment.format(date);
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
