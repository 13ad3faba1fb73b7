// The question before something that cannot be taken back, with words to give where they are asked for.

export class ConfirmView {
  #dialog = document.getElementById("confirm-dialog");
  #form = this.#dialog.querySelector("form");
  #title = document.getElementById("confirm-title");
  #words = document.getElementById("confirm-words");
  #field = document.getElementById("confirm-field");
  #submit = this.#form.querySelector("[type=submit]");

  constructor() {
    document.getElementById("confirm-cancel").onclick = () => this.#dialog.close();
  }

  /** Do `work` when the person says so. `asks`: the reason is asked for and given to it; a `needed` one may not be empty. */
  ask({ title, words, action, asks = false, needed = false }, work) {
    this.#title.textContent = title;
    this.#words.textContent = words;
    this.#submit.textContent = action;
    this.#field.hidden = !asks;
    const { reason } = this.#form.elements;
    reason.required = needed;
    reason.value = "";
    this.#form.onsubmit = () => work(reason.value.trim());
    this.#dialog.showModal();
  }
}
