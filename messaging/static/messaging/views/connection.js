// The state of the connection in words, and short news that belong to no room.

const SHOWN = 6_000; // milliseconds that news stay
const SENTENCES = {
  connecting: "Connecting …",
  connected: "Connected",
  offline: "You are offline. What you write is sent when you are back.",
  closed: "The server has ended the connection.",
  "signed-out": "You are signed out.",
  deactivated: "This account is deactivated.",
};
const ENDED = new Set(["closed", "deactivated"]);

export class ConnectionView {
  #state = { state: "connecting", until: null };
  #bar = document.getElementById("connection");
  #words = document.getElementById("connection-words");
  #dot = document.getElementById("connection-state");
  #spoken = document.getElementById("connection-spoken");
  #retry = document.getElementById("connect-now");
  #news = document.getElementById("news");
  #clock = null;
  #timer = null;

  constructor({ client }) {
    this.#retry.onclick = () => {
      client.close();
      client.open();
    };
    client.addEventListener("state", ({ detail }) => this.#show(detail));
  }

  /** One sentence, for a while. */
  say(text) {
    clearTimeout(this.#timer);
    this.#news.textContent = text;
    this.#timer = setTimeout(() => (this.#news.textContent = ""), SHOWN);
  }

  #show(state) {
    this.#state = state;
    document.body.dataset.connection = state.state;
    clearInterval(this.#clock);
    if (state.state === "waiting") this.#clock = setInterval(() => this.#render(), 1_000);
    this.#render();
    this.#speak(state.state);
  }

  /** For screen readers, which are not to count the seconds and the tries. */
  #speak(state) {
    const words = state === "waiting" || state === "connecting" ? "Not connected" : SENTENCES[state];
    if (this.#spoken.textContent !== words) this.#spoken.textContent = words;
  }

  #render() {
    const { state, until } = this.#state;
    const seconds = Math.max(1, Math.ceil((until - Date.now()) / 1_000));
    const words = state === "waiting" ? `Reconnecting in ${seconds} s …` : SENTENCES[state];
    this.#dot.textContent = state === "connected" ? words : "Not connected";
    this.#bar.hidden = state === "connected";
    this.#words.textContent = state === "connected" ? "" : words;
    this.#retry.hidden = !(state === "waiting" || ENDED.has(state));
  }
}
