// The dialog that makes a room.

export class NewRoomView {
  #dialog = document.getElementById("room-dialog");
  #form = this.#dialog.querySelector("form");
  #error = this.#dialog.querySelector(".error");
  #rooms;
  #onCreated;

  constructor({ rooms, onCreated }) {
    this.#rooms = rooms;
    this.#onCreated = onCreated;
    document.getElementById("new-room").onclick = () => this.#ask();
    document.getElementById("cancel-room").onclick = () => this.#dialog.close();
    // A click on the backdrop has the dialog itself as its target.
    this.#dialog.onclick = (event) => {
      if (event.target === this.#dialog) this.#dialog.close();
    };
    this.#form.onsubmit = (event) => this.#create(event);
  }

  #ask() {
    this.#form.reset();
    this.#error.hidden = true;
    this.#dialog.showModal();
  }

  async #create(event) {
    event.preventDefault();
    const { name, kind } = this.#form.elements;
    const submit = this.#form.querySelector("[type=submit]");
    submit.disabled = true;
    this.#error.hidden = true;
    try {
      const room = await this.#rooms.create(name.value, kind.value);
      this.#dialog.close();
      this.#onCreated(room.id);
    } catch (problem) {
      this.#error.textContent = problem.message;
      this.#error.hidden = false;
      name.focus();
    } finally {
      submit.disabled = false;
    }
  }
}
