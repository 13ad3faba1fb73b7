// The message box: Enter sends, Shift+Enter breaks a line, and a composition is left alone.

import { excerpt } from "./message.js";

const LONGEST = 4000; // Unicode code points in a message
const TELL = 200; // so many before the end the count is shown

export class Composer {
  #form = document.getElementById("composer");
  #text = document.getElementById("text");
  #count = document.getElementById("text-count");
  #about = document.getElementById("composer-about");
  #words = document.getElementById("composer-words");
  #room = null;
  #replyTo = null; // the message that is replied to
  #editing = null; // the message that is edited; the draft waits meanwhile
  #drafts;
  #onSend;
  #onEdit;
  #onTyping;

  /** `onSend` gets the text and the message that it replies to, or null; `onEdit` the message and its new text; `onTyping`
   *  is called while something is typed, often. */
  constructor({ drafts, onSend, onEdit, onTyping }) {
    this.#onTyping = onTyping;
    this.#drafts = drafts;
    this.#onSend = onSend;
    this.#onEdit = onEdit;
    document.getElementById("composer-cancel").onclick = () => this.#cancel();
    this.#form.onsubmit = (event) => {
      event.preventDefault();
      this.#send();
    };
    this.#text.onkeydown = (event) => this.#key(event);
    this.#text.oninput = () => {
      this.#changed();
      if (this.#editing === null && this.#text.value.trim()) this.#onTyping();
    };
  }

  /** Write for this room from now on; what was typed for it before is there again. */
  show(room) {
    this.#room = room;
    this.#write(null, null);
  }

  reply(message) {
    this.#write(message, null);
    this.#text.focus();
  }

  edit(message) {
    this.#write(null, message);
    this.#text.focus();
  }

  #cancel() {
    this.#write(null, null);
    this.#text.focus();
  }

  /** Write a message, which may reply to another one, or the new text of one. */
  #write(replyTo, editing) {
    this.#replyTo = replyTo;
    this.#editing = editing;
    this.#about.hidden = !replyTo && !editing;
    this.#words.textContent = editing ? "Editing your message" : replyTo ? `Reply to ${replyTo.sender}: ${excerpt(replyTo)}` : "";
    this.#text.value = editing?.text ?? (this.#room === null ? "" : this.#drafts.get(this.#room));
    this.#changed();
  }

  /** On a phone the focus would open the keyboard over the messages. */
  focus() {
    if (matchMedia("(hover: hover)").matches) this.#text.focus();
  }

  #key(event) {
    if (event.key === "Escape" && !event.isComposing && !this.#about.hidden) {
      this.#cancel();
      return;
    }
    if (event.key !== "Enter" || event.shiftKey) return;
    // Enter that ends an input-method composition (Korean, Japanese, Chinese) belongs to the composition. Safari fires
    // compositionend before it, so that isComposing is false already, but the key code is 229.
    if (event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    this.#send();
  }

  #send() {
    const text = this.#text.value;
    this.#text.focus();
    if (this.#room === null || !text.trim() || length(text) > LONGEST) return;
    const [replyTo, editing] = [this.#replyTo, this.#editing];
    if (editing === null) this.#drafts.set(this.#room, "");
    this.#write(null, null);
    if (editing === null) this.#onSend(text, replyTo);
    else if (text !== editing.text) this.#onEdit(editing, text);
  }

  #changed() {
    if (this.#room !== null && this.#editing === null) this.#drafts.set(this.#room, this.#text.value);
    const left = LONGEST - length(this.#text.value);
    this.#count.hidden = left > TELL;
    this.#count.classList.toggle("error", left < 0);
    this.#count.textContent = left < 0 ? `${-left} too many characters` : `${left} left`;
  }
}

/** In code points, as the server counts; what cannot be too long is not counted. */
function length(text) {
  return text.length > LONGEST - TELL ? [...text].length : text.length;
}
