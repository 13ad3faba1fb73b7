// The message box: Enter sends, Shift+Enter breaks a line, and a composition is left alone.

const LONGEST = 4000; // Unicode code points in a message
const TELL = 200; // so many before the end the count is shown

export class Composer {
  #form = document.getElementById("composer");
  #text = document.getElementById("text");
  #count = document.getElementById("text-count");
  #room = null;
  #drafts;
  #onSend;

  constructor({ drafts, onSend }) {
    this.#drafts = drafts;
    this.#onSend = onSend;
    this.#form.onsubmit = (event) => {
      event.preventDefault();
      this.#send();
    };
    this.#text.onkeydown = (event) => this.#key(event);
    this.#text.oninput = () => this.#changed();
  }

  /** Write for this room from now on; what was typed for it before is there again. */
  show(room) {
    this.#room = room;
    this.#text.value = room === null ? "" : this.#drafts.get(room);
    this.#changed();
  }

  /** On a phone the focus would open the keyboard over the messages. */
  focus() {
    if (matchMedia("(hover: hover)").matches) this.#text.focus();
  }

  #key(event) {
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
    this.#text.value = "";
    this.#changed();
    this.#onSend(text);
  }

  #changed() {
    if (this.#room !== null) this.#drafts.set(this.#room, this.#text.value);
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
