// Sign-in and sign-up: one form with a switch.

import { call, getSession } from "../rest.js";

export class SignInView {
  #page = document.getElementById("sign-in");
  #form = this.#page.querySelector("form");
  #error = this.#page.querySelector(".error");
  #signingUp = false;

  /** Show the form until somebody is signed in; resolves to the user id. */
  ask() {
    this.#page.hidden = false;
    this.#form.elements.id.focus();
    document.getElementById("sign-in-switch").onclick = () => this.#turn(!this.#signingUp);
    return new Promise((resolve) => {
      this.#form.onsubmit = async (event) => {
        event.preventDefault();
        const user = await this.#submit();
        if (user) {
          this.#page.hidden = true;
          this.#form.reset();
          resolve(user);
        }
      };
    });
  }

  #turn(signingUp) {
    this.#signingUp = signingUp;
    const words = signingUp
      ? ["Make an account", "Choose an id and a password.", "Sign up", "I have an account", "new-password"]
      : ["Welcome", "Sign in to talk.", "Sign in", "New here? Make an account", "current-password"];
    document.getElementById("sign-in-title").textContent = words[0];
    document.getElementById("sign-in-hint").textContent = words[1];
    this.#form.querySelector("[type=submit]").textContent = words[2];
    document.getElementById("sign-in-switch").textContent = words[3];
    this.#form.elements.password.autocomplete = words[4];
    document.getElementById("forgotten-password").hidden = signingUp;
    this.#error.hidden = true;
  }

  async #submit() {
    const { id, password } = this.#form.elements;
    const button = this.#form.querySelector("[type=submit]");
    button.disabled = true;
    this.#error.hidden = true;
    try {
      await call("POST", this.#signingUp ? "/users" : "/session", { id: id.value, password: password.value });
      return (await getSession()).user.id;
    } catch (problem) {
      this.#error.textContent = problem.message;
      this.#error.hidden = false;
      (problem.code === "unauthenticated" ? password : id).select();
      return null;
    } finally {
      button.disabled = false;
    }
  }
}
