// The protocol's error codes in a person's words.

const SENTENCES = {
  invalid: "The server did not understand that.",
  unauthenticated: "Please sign in.",
  forbidden: "You may not do that.",
  not_member: "You are not a member of this room.",
  muted: "You are muted in this room.",
  banned: "You are banned from this room.",
  not_found: "That is not there (any more).",
  method_not_allowed: "The server does not offer that.",
  conflict: "That is taken already.",
  too_large: "That is too long.",
  rate_limited: "Too fast. Please wait a moment.",
  internal: "The server made a mistake. Please try again.",
  unavailable: "The server cannot do that at the moment. Please try again.",
  unknown: "It is not certain whether that has worked.",
};
// For these the server's own sentence says what to change.
const DETAILED = new Set(["invalid", "unauthenticated", "forbidden", "conflict", "too_large"]);
// What may work a little later, unchanged.
const PASSING = new Set(["rate_limited", "unavailable", "unknown"]);

/** A refusal, of a REST call or of a frame: its `message` is for people, its `code` for programs. */
export class Problem extends Error {
  constructor({ code, detail, retry_after: retryAfter }) {
    super((DETAILED.has(code) && detail) || SENTENCES[code] || SENTENCES.internal);
    this.code = code;
    this.passing = PASSING.has(code);
    this.retryAfter = (retryAfter ?? 0) * 1000; // milliseconds
  }
}
