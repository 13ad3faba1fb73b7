// Who is in the open room: their number in its head, and their names at a touch, where they are few.

import { avatar, element } from "./elements.js";

const EDGE = 8; // pixels that the list keeps from the edges of the page

export class PeopleView {
  #button = document.getElementById("people-here");
  #list = document.getElementById("people-list");
  #count = null; // null: not known
  #names = null; // a Set; null: they are too many to be named, or not known

  constructor() {
    addEventListener("resize", () => this.#list.matches(":popover-open") && this.#list.hidePopover());
    this.#list.addEventListener("toggle", ({ newState }) => newState === "open" && this.#place());
  }

  /** Another room, or another connection: nothing is known. */
  reset() {
    this.#count = this.#names = null;
    if (this.#list.matches(":popover-open")) this.#list.hidePopover();
    this.#show();
  }

  /** A joined, left or presence frame. */
  take(frame) {
    if (frame.type === "presence") {
      this.#count = frame.count;
      this.#names = frame.users ? new Set(frame.users) : null;
    } else if (this.#names) {
      frame.type === "joined" ? this.#names.add(frame.user) : this.#names.delete(frame.user);
      this.#count = this.#names.size;
    }
    this.#show();
  }

  #show() {
    this.#button.hidden = this.#count === null;
    this.#button.textContent = `${this.#count?.toLocaleString()} online`;
    const names = [...(this.#names ?? [])].sort((a, b) => a.localeCompare(b));
    this.#list.querySelector("ul").replaceChildren(...names.map(row));
    this.#list.querySelector("p").hidden = this.#names !== null;
  }

  /** Below the button, its right edge under the button's. */
  #place() {
    const at = this.#button.getBoundingClientRect();
    this.#list.style.top = `${at.bottom}px`;
    this.#list.style.left = `${Math.max(EDGE, at.right - this.#list.offsetWidth)}px`;
  }
}

function row(name) {
  const made = element("li");
  made.append(avatar(name), element("span", "name", name));
  return made;
}
