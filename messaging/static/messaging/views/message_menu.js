// What one can do with a message: a small menu at its button, and the question before it is deleted.

const EDGE = 8; // pixels that the menu keeps from the edges of the page

export class MessageMenu {
  #menu = document.getElementById("message-menu");
  #reply = document.getElementById("reply-message");
  #edit = document.getElementById("edit-message");
  #delete = document.getElementById("delete-message");
  #dialog = document.getElementById("delete-dialog");
  #rights;
  #handlers;

  /** `rights`: {mayEdit, mayDelete}, asked with a message; the handlers get it too. */
  constructor({ mayEdit, mayDelete, onReply, onEdit, onDelete }) {
    this.#rights = { mayEdit, mayDelete };
    this.#handlers = { onReply, onEdit, onDelete };
    addEventListener("resize", () => this.#menu.matches(":popover-open") && this.#menu.hidePopover());
    document.getElementById("cancel-delete").onclick = () => this.#dialog.close();
  }

  open(message, button) {
    const { onReply, onEdit, onDelete } = this.#handlers;
    this.#reply.onclick = () => this.#choose(() => onReply(message));
    this.#edit.onclick = () => this.#choose(() => onEdit(message));
    this.#delete.onclick = () => this.#choose(() => this.#ask(() => onDelete(message)));
    this.#edit.hidden = !this.#rights.mayEdit(message);
    this.#delete.hidden = !this.#rights.mayDelete(message);
    this.#menu.showPopover();
    this.#place(button.getBoundingClientRect());
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

  /** Below the button, or above it where there is no room; never over the edges. */
  #place(at) {
    const { offsetWidth: width, offsetHeight: height } = this.#menu;
    const below = at.bottom + height + EDGE < innerHeight;
    this.#menu.style.top = `${Math.max(EDGE, below ? at.bottom : at.top - height)}px`;
    this.#menu.style.left = `${Math.max(EDGE, Math.min(at.left, innerWidth - width - EDGE))}px`;
  }
}
