// What one can do with a message: a small menu at its button, and the question before it is deleted.

import { placeAt } from "./elements.js";

export class MessageMenu {
  #menu = document.getElementById("message-menu");
  #reply = document.getElementById("reply-message");
  #edit = document.getElementById("edit-message");
  #delete = document.getElementById("delete-message");
  #report = document.getElementById("report-message");
  #block = document.getElementById("block-sender");
  #dialog = document.getElementById("delete-dialog");
  #rights;
  #handlers;

  /** `rights`: {mayEdit, mayDelete}, asked with a message; the handlers get it too. */
  constructor({ mayEdit, mayDelete, onReply, onEdit, onDelete, onReport, onBlock }) {
    this.#rights = { mayEdit, mayDelete };
    this.#handlers = { onReply, onEdit, onDelete, onReport, onBlock };
    addEventListener("resize", () => this.#menu.matches(":popover-open") && this.#menu.hidePopover());
    document.getElementById("cancel-delete").onclick = () => this.#dialog.close();
  }

  open(message, button) {
    const { onReply, onEdit, onDelete, onReport, onBlock } = this.#handlers;
    this.#reply.onclick = () => this.#choose(() => onReply(message));
    this.#edit.onclick = () => this.#choose(() => onEdit(message));
    this.#delete.onclick = () => this.#choose(() => this.#ask(() => onDelete(message)));
    this.#report.onclick = () => this.#choose(() => onReport(message));
    this.#block.onclick = () => this.#choose(() => onBlock(message));
    // One edits what is one's own, and reports the rest.
    this.#report.hidden = this.#block.hidden = this.#rights.mayEdit(message);
    this.#edit.hidden = !this.#rights.mayEdit(message);
    this.#delete.hidden = !this.#rights.mayDelete(message);
    this.#menu.showPopover();
    placeAt(this.#menu, button.getBoundingClientRect());
    this.#reply.focus();
  }

  #choose(work) {
    this.#menu.hidePopover();
    work();
  }

  #ask(work) {
    this.#dialog.querySelector("form").onsubmit = work;
    this.#dialog.showModal();
  }
}
